"""What the tests of objectives and of the worker share: contexts, jobs, pulls, waiting."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from tuneflow.objective import Context, Ended, RawReport
from tuneflow.objective.reference import load
from tuneflow.trial import Report, Segment
from tuneflow.worker import Control, Job, run_segment


def context(tmp_path, *, params=None, start=0, until=None, restore=None, **options):
    segment_options = {
        name: options.pop(name)
        for name in ("max_resource", "checkpoint", "trial")
        if name in options
    }
    segment = Segment(
        segment_options.pop("trial", 7),
        0,
        params if params is not None else {"lr": 0.5, "opt": {"name": "sgd"}},
        start=start,
        until=until,
        **segment_options,
    )
    return Context(
        segment=segment,
        metric="loss",
        start=start,
        restore=restore,
        directory=tmp_path / "trial" / "work",
        **options,
    )


def pull_all(stream):
    """Return the reports of a stream and how it ended."""
    reports = []
    while True:
        event = stream.next(30)
        if isinstance(event, Ended):
            return reports, event.failure
        if isinstance(event, RawReport):
            reports.append(event)


def pull(stream):
    """Return the next report, which must come."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        event = stream.next(1)
        if event is not None:
            assert isinstance(event, RawReport), event
            return event
    raise AssertionError("no report within 30 seconds")


def until_true(condition, seconds=20.0):
    """Wait for another process to get somewhere; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come true")
        time.sleep(0.01)


def is_running(pid):
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def script(tmp_path, text, name="trial.py"):
    """Return the objective of a Python program."""
    path = tmp_path / name
    path.write_text(text)
    return load({"command": [sys.executable, str(path), "{lr}"]})


class Runner:
    """Runs segments of one study on a store of its own."""

    def __init__(self, tmp_path, **options):
        self.job = Job(f"file://{tmp_path}/study", "loss", **options)
        self.emitted: list[Report] = []
        self.control = Control()

    def configure(self, **options):
        """Change the job."""
        self.job = replace(self.job, **options)

    def run(self, objective, segment, *, emit=None, **options):
        self.emitted = []
        self.control = options.pop("control", None) or Control()

        def collect(report):
            self.emitted.append(report)
            if emit is not None:
                emit(report)

        return run_segment(
            self.job, objective, segment, emit=collect, control=self.control, **options
        )


def levels(reports):
    return [report.resource for report in reports]


def losses(reports):
    return [report.metrics["loss"] for report in reports]


def environ_with_repository():
    root = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root}
