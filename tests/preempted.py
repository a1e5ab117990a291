"""A study of one long trial, which waits in the middle until its machine is taken away."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

import tuneflow
from tests.clusters import until, worker
from tests.objectives import environ_with_repository
from tuneflow.events import Closed
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes

LEVELS = 30
HELD = 10
"""The trial waits once it has come to this level."""
RARELY = {"every": 1000}
"""A period that never comes."""
FIRST, SECOND = "first", "second"
"""The workers: one that is taken away, and one that joins."""

COMMAND = """
import json, os, signal, sys, time
folder = sys.argv[1]
ends = []
signal.signal(signal.SIGTERM, lambda number, frame: ends.append(number))
level = 0
if os.environ.get("TUNEFLOW_RESTORE_DIR"):
    level = int(open(os.path.join(os.environ["TUNEFLOW_RESTORE_DIR"], "level")).read())
while level < LEVELS:
    while level >= HELD and not os.path.exists(folder + "/go") and not ends:
        time.sleep(0.01)
    level += 1
    open(folder + "/levels", "a").write(f"{level} {os.getpid()}\\n")
    path = os.path.join(os.environ["TUNEFLOW_CHECKPOINT_DIR"], str(level))
    os.makedirs(path)
    open(os.path.join(path, "level"), "w").write(str(level))
    print(json.dumps({"loss": 1 / level, "checkpoint": str(level)}), flush=True)
    if ends:
        sys.exit(0)
""".replace("LEVELS", str(LEVELS)).replace("HELD", str(HELD))


@contextmanager
def started(tmp_path, address, name, *options, **env):
    """A `dask worker`, once it is there."""
    local = tmp_path / name
    local.mkdir()
    fixed = ("--local-directory", local, "--name", name)
    variables = {**environ_with_repository(), **env}
    with worker(address, *fixed, *options, env=variables) as process:
        with Client(address, set_as_default=False) as client:
            until(lambda: name in names(client), 90)
        yield process


def names(client):
    return [worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]


def objective(folder, form="thread", *, stubborn=False):
    """An objective that notes each level that it computes, and whose process it is.

    A stubborn one waits on, whatever is to become of its machine.
    """
    if form == "command":
        script = folder / "train.py"
        script.write_text(COMMAND)
        return {"command": [sys.executable, str(script), str(folder)]}
    place, levels, held = str(folder), LEVELS, HELD

    def train(config):
        import os
        import time
        from pathlib import Path

        import tuneflow

        folder, restored = Path(place), tuneflow.checkpoint()
        level = int((restored / "level").read_text()) if restored else 0
        while level < levels:
            while level >= held and not (folder / "go").exists():
                if tuneflow.preempted() and not stubborn:
                    break
                time.sleep(0.01)
            level += 1
            with (folder / "levels").open("a") as file:
                file.write(f"{level} {os.getpid()}\n")

            def save(target, level=level):
                (target / "level").write_text(str(level))

            tuneflow.report(loss=1 / level, checkpoint=save)

    return train


class LongTrial:
    """The study in a thread of the test, and what has become of it."""

    def __init__(self, folder, address, form="thread", *, checkpoints=RARELY, stubborn=False):
        self.folder = folder
        self.storage = (folder / "studies").as_uri()
        isolation = "process" if form == "process" else "thread"
        executor = {"type": "dask", "address": address, "parallel": 1, "isolation": isolation}
        self._arguments = {
            "train": objective(folder, form, stubborn=stubborn),
            "space": {"lr": tuneflow.space.uniform(0, 1)},
            "metric": "loss",
            "mode": "min",
            "trials": 1,
            "name": "long",
            "storage": self.storage,
            "executor": executor,
            "checkpoints": checkpoints,
            "progress": False,
        }
        self.error = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            tuneflow.tune(**self._arguments)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error

    def levels(self):
        """Return the levels that were computed, in order, each with the process that did."""
        return levels(self.folder)

    def await_held(self):
        """Wait until the trial waits."""
        until(lambda: self.error or len(self.levels()) >= HELD, 90)
        assert self.error is None, self.error

    def await_elsewhere(self):
        """Let it go on to its end, which must come in another process."""
        (self.folder / "go").touch()
        self._thread.join(90)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        return self.opened()

    def opened(self):
        """Return the study."""
        return OpenStudy.open(f"{self.storage}/long")


def levels(folder):
    path = folder / "levels"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(level), int(pid)) for level, pid in (line.split() for line in lines)]


def check_uninterrupted(opened, computed, most_repeated=0):
    """Check that a preemption has left no trace but where levels were computed."""
    (trial,) = opened.history.trials
    assert trial.state == "completed", trial
    assert [report.resource for report in trial.reports] == list(range(1, LEVELS + 1))
    assert (trial.losses, trial.failures, trial.attempt, trial.segment) == (0, 0, 0, 0)
    closed = [fact for fact in opened.history.facts if isinstance(fact, Closed)]
    assert [fact.failure for fact in closed] == [None]
    assert closed[0].status in ("completed", "paused")
    (outcome,) = stored_outcomes(opened.store, [(0, 0)])
    assert [report.resource for report in outcome.reports] == list(range(1, LEVELS + 1))
    counts = Counter(level for level, _ in computed)
    assert set(counts) == set(range(1, LEVELS + 1))
    assert counts.total() - LEVELS <= most_repeated, computed
    return outcome


def newest_checkpoint(opened):
    """Return the level of the trial's newest checkpoint; 0 without one."""
    names = [Path(key).stem for key in opened.store.list("trials/000000/checkpoints")]
    return max((int(name.split("-")[1]) for name in names), default=0)
