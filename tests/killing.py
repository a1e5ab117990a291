"""Drivers that die by SIGKILL at a chosen point, cheaply enough for hundreds of them.

A template process imports everything once. Each driver is a fork of it, so that it is a process
of its own for a few milliseconds. What a driver does to its storage is a row of points: before
and after each call of `Store`, and before and after each step of it that the disk sees.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import obstore

import tuneflow
from tests import trainer
from tests.clusters import process
from tests.end_to_end import reported
from tuneflow.driving import make_executor
from tuneflow.errors import StudyConflictError
from tuneflow.events import Opened
from tuneflow.objective.reference import describe
from tuneflow.outcomes import read_outcome
from tuneflow.spec import plain_spec, study_from_json
from tuneflow.store import Store
from tuneflow.study import decide

CALLS = {
    Store: ("create", "put", "upload", "download", "get", "get_many", "size", "list", "delete"),
    obstore: ("put", "get", "head", "list", "delete"),
    os: ("fsync", "link", "replace", "unlink"),
}
OBJECTIVE = "tests.killing:train"
FOLDER = "TUNEFLOW_TEST_FOLDER"
CONFLICT = 5


def train(config):
    """Learn; the steps are noted in the folder that the environment names."""
    yield from trainer.learn(config, Path(os.environ[FOLDER]))


class Points:
    """Counts points, and sends this process a signal at one of them.

    Args:
        last: the number of that point; the first one is 1.
        number: of the signal.
    """

    def __init__(self, last=None, number=signal.SIGKILL):
        self.labels = []
        self._last = last
        self._number = number
        self._lock = threading.Lock()

    def install(self):
        """Have each call that reaches a storage be two points."""
        for owner, names in CALLS.items():
            for name in names:
                label = f"{owner.__name__}.{name}"
                setattr(owner, name, self._marked(label, getattr(owner, name)))

    def _marked(self, label, call):
        @functools.wraps(call)
        def marked(*args, **kwargs):
            self._pass(f"before {label}")
            try:
                return call(*args, **kwargs)
            finally:
                self._pass(f"after {label}")

        return marked

    def _pass(self, label):
        with self._lock:
            self.labels.append(label)
            if len(self.labels) == self._last:
                os.kill(os.getpid(), self._number)


def serve():
    """Be the template: do what each line of stdin says, and answer each with a line of stdout."""
    for line in sys.stdin:
        order = json.loads(line)
        answer = _wait(**order["wait"]) if "wait" in order else _start(order)
        print(json.dumps(answer), flush=True)  # noqa: T201 - it is what is waited for


def _start(order):
    """Fork a driver; return its process."""
    spec = {key: value for key, value in order["study"].items() if key != "storage"}
    _warm(json.dumps(spec))
    pid = os.fork()
    if not pid:
        _be_driver(order)
    return pid


@functools.cache
def _warm(spec):
    """Import what a study needs, up to the storage: its threads would be missing in forks."""
    make_executor("inline")
    study = study_from_json(plain_spec(objective=describe(OBJECTIVE), **json.loads(spec)))
    study.prepare()
    decide(study, study.history(), 1)


def _wait(pid, seconds):
    """Return how a driver ended: its exit code, or a signal below 0, also one that stopped it."""
    if seconds is not None:
        ended = select.poll()
        ended.register(os.pidfd_open(pid), select.POLLIN)
        if not ended.poll(seconds * 1000):
            os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, os.WUNTRACED)[1]
    return -signal.SIGSTOP if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def _be_driver(order):
    code = 1
    try:
        os.environ.update(order["env"])
        points = Points(order["point"], order["signal"])
        points.install()
        tuneflow.tune(OBJECTIVE, progress=False, **order["study"])
        code = 0
        Path(order["env"][FOLDER], "points").write_text("\n".join(points.labels))
    except StudyConflictError:
        code = CONFLICT
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(code)


class Template:
    """What forks drivers."""

    def __init__(self, started):
        self._started = started

    def start(self, folder, study, *, point=None, number=signal.SIGKILL):
        """Start a driver of a study that gets a signal at a point; return its process.

        Its trials note their steps in the folder, and at its end it writes its points there.
        """
        env = {FOLDER: str(folder)}
        return self._ask({"study": study, "point": point, "signal": number, "env": env})

    def wait(self, pid, seconds=None):
        """Wait until a driver has ended or is stopped; after so many seconds it is killed.

        Returns its exit code, or the signal, below 0.
        """
        return self._ask({"wait": {"pid": pid, "seconds": seconds}})

    def _ask(self, order):
        self._started.stdin.write(json.dumps(order) + "\n")
        self._started.stdin.flush()
        return json.loads(self._started.stdout.readline())


@contextmanager
def template():
    """A template process, gone afterwards with all that it has started."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with process("-c", "from tests.killing import serve; serve()", **pipes) as started:
        yield Template(started)
        started.stdin.close()


def spread(labels, count, rng):
    """Choose so many points, as many of each kind as there are; the numbers begin at 1."""
    kinds = defaultdict(list)
    for number, label in enumerate(labels, 1):
        kinds[label].append(number)
    for numbers in kinds.values():
        rng.shuffle(numbers)
    chosen = []
    while len(chosen) < count:
        for label in sorted(kinds):
            chosen += kinds[label][:1]
            del kinds[label][:1]
    return chosen[:count]


class Attempt:
    """A study in a storage and a folder of its own, and what becomes of it there.

    Args:
        drivers: the template of its drivers.
        folder: where its trials note their steps; it is made.
        storage: where it is stored.
        spec: its spec.
    """

    def __init__(self, drivers, folder, storage, spec):
        folder.mkdir()
        self.folder = folder
        self.url = f"{storage}/{spec['name']}"
        self._drivers = drivers
        self._spec = {**spec, "storage": str(storage)}
        self._store = Store(self.url)

    def start(self, **options):
        """Start a driver, see `Template.start`."""
        return self._drivers.start(self.folder, self._spec, **options)

    def wait(self, pid, seconds=None):
        """Wait for a driver, see `Template.wait`."""
        return self._drivers.wait(pid, seconds)

    def drive(self, point=None, seconds=None):
        """Have a driver go on, and be killed at a point or a moment; return whether it was."""
        code = self.wait(self.start(point=point), seconds)
        assert code in (0, -signal.SIGKILL), code
        return code != 0

    @property
    def labels(self):
        """The points of the driver that came to the end."""
        return (self.folder / "points").read_text().splitlines()

    @property
    def journal(self):
        """Spec and journal, as they are stored."""
        return {**self._stored("journal"), "study.json": self._store.get("study.json")}

    @property
    def state(self):
        """What the journal says: "new", "running" or "finished"."""
        return tuneflow.load(self.url).state if self._store.list("journal") else "new"

    @property
    def outcomes(self):
        """The outcomes, as they are stored."""
        return {key: data for key, data in self._stored("trials").items() if "/segments/" in key}

    def _stored(self, folder):
        keys = self._store.list(folder)
        return dict(zip(keys, self._store.get_many(keys), strict=True))

    @property
    def safe(self):
        """The levels of trials that need never be computed again."""
        found = set()
        for key in self._store.list("trials"):
            _, trial, kind, name = key.split("/")
            if kind == "checkpoints":
                found.add((int(trial), int(name.removesuffix(".json").split("-")[1])))
        for key, data in self.outcomes.items():
            outcome = read_outcome(data, key)
            found |= {(outcome.trial, report.resource) for report in outcome.reports}
        return found

    @property
    def facts(self):
        """What has happened, without which driver wrote it down."""
        facts = tuneflow.load(self.url).history.facts
        return [fact for fact in facts if not isinstance(fact, Opened)]

    @property
    def essence(self):
        """The outcomes without times and places."""
        return {key: _timeless(read_outcome(data, key)) for key, data in self.outcomes.items()}


def _timeless(outcome):
    reports = tuple(replace(report, time=0.0) for report in outcome.reports)
    return replace(outcome, reports=reports, started=0.0, ended=0.0, worker="")


class Truth:
    """What a study comes to when nothing goes wrong.

    Args:
        attempt: the study, not begun; it is driven to its end.

    Attributes:
        labels: the points of its driver.
        seconds: how long it took.
    """

    def __init__(self, attempt):
        began = time.monotonic()
        assert not attempt.drive()
        self.seconds = time.monotonic() - began
        self.labels = attempt.labels
        self._in_rounds = tuneflow.load(attempt.url).study.in_rounds
        self._facts = attempt.facts
        self._stored = attempt.journal, attempt.essence

    def assert_kept(self, attempt):
        """Make sure that a study whose drivers had faults came to the same end."""
        assert attempt.facts == self._facts
        if self._in_rounds:
            assert (attempt.journal, attempt.essence) == self._stored
        result = tuneflow.load(attempt.url)
        assert result.state == "finished"
        assert set(reported(result).values()) == {1}
        for trial in (trial for trial in result.trials if trial.checkpoint is not None):
            with tempfile.TemporaryDirectory() as folder:
                newest = result.checkpoint(trial, folder) / "state.json"
                assert json.loads(newest.read_text())["level"] == trial.checkpoint_resource
