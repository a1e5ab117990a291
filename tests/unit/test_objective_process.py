"""What a process of its own adds: a crash harms nobody, and force ends anything."""

# ruff: noqa: T201 - trials under test print

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from tests.objectives import (
    context,
    environ_with_repository,
    is_running,
    pull,
    pull_all,
    until_true,
)
from tuneflow.objective import PythonObjective, with_parameters
from tuneflow.objective.process import pickled
from tuneflow.objective.session import current_trial, report


@pytest.fixture
def opened(tmp_path):
    streams = []

    def open_stream(target, **options):
        stream = PythonObjective(target).isolated().open(context(tmp_path, **options))
        streams.append(stream)
        return stream

    yield open_stream
    for stream in streams:
        stream.close(0)


def write_pid(path):
    path.with_suffix(".new").write_text(str(os.getpid()))
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_death_by_a_signal_is_reported_by_its_name(opened, number):
    def train(config):
        report(loss=1)
        os.kill(os.getpid(), number)

    reports, failure = pull_all(opened(train))
    assert len(reports) == 1
    hint = ", perhaps for want of memory" if number == signal.SIGKILL else ""
    assert (failure.kind, failure.message) == ("signal", f"killed by {number.name}{hint}")


def test_a_crash_in_native_code_is_reported_with_where_it_was(opened):
    def train(config):
        ctypes.string_at(0)

    _, failure = pull_all(opened(train))
    assert failure.message == "killed by SIGSEGV"
    assert "in train" in failure.traceback


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (3, "exited with status 3"),
        (0, "the process ended with status 0 in the middle of the objective"),
    ],
)
def test_an_exit_past_python_is_a_failure(opened, status, message):
    def train(config):
        print("last words", flush=True)
        os._exit(status)

    _, failure = pull_all(opened(train))
    assert (failure.kind, failure.message) == ("exit", message)
    if status:
        assert failure.traceback == "last words"


def test_prints_of_the_objective_and_its_programs_go_to_the_log_only(opened):
    def train(config):
        print('{"loss": 99}')
        print("to stderr", file=sys.stderr)
        subprocess.run(["echo", "from a program"], check=True)
        return 1

    stream = opened(train)
    (only,), failure = pull_all(stream)
    assert failure is None
    assert only.metrics == {"loss": 1.0}
    log = stream._context.log.getvalue().decode()
    assert sorted(log.splitlines()) == ["from a program", "to stderr", '{"loss": 99}']


def test_output_is_in_the_log_before_its_report(opened):
    def train(config):
        print("before the report")
        report(loss=1)

    stream = opened(train)
    pull(stream)
    assert stream._context.log.getvalue() == b"before the report\n"


def test_closing_ends_an_objective_that_computes(opened, tmp_path):
    started, ending = tmp_path / "started", tmp_path / "ending"

    def train(config):
        write_pid(started)
        try:
            while True:
                time.sleep(0.01)
        finally:
            ending.write_text("cleaned up")

    stream = opened(train)
    until_true(started.exists)
    assert stream.close(10)
    assert ending.read_text() == "cleaned up"
    assert not is_running(int(started.read_text()))


def test_closing_kills_an_objective_that_does_not_listen_and_all_it_started(opened, tmp_path):
    started = tmp_path / "started"

    def train(config):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
        started.with_suffix(".new").write_text(f"{os.getpid()} {helper.pid}")
        started.with_suffix(".new").rename(started)
        while True:
            time.sleep(1)

    stream = opened(train)
    until_true(started.exists)
    assert stream.close(0.2)
    pids = [int(pid) for pid in started.read_text().split()]
    until_true(lambda: not any(is_running(pid) for pid in pids))


def test_a_pull_can_be_interrupted(opened):
    stream = opened(lambda config: time.sleep(60))
    stream.interrupt()
    began = time.monotonic()
    while stream.next(30) is not None:
        pass
    assert time.monotonic() - began < 20


def test_a_pull_ends_after_its_timeout(opened):
    assert opened(lambda config: time.sleep(60)).next(0.05) is None


PARENT = """
import os, sys, time
from pathlib import Path
from tests.objectives import context, pull
from tuneflow.objective import PythonObjective
from tuneflow.objective.session import report

def train(config):
    Path(sys.argv[1]).write_text(str(os.getpid())) if len(sys.argv) > 1 else None
    report(loss=os.getpid())
    time.sleep(60)

stream = PythonObjective(train).isolated().open(context(Path(sys.argv[1])))
print(int(pull(stream).metrics["loss"]), flush=True)
if sys.argv[2] == "computing":
    stream.next(0.2)
time.sleep(60)
"""


@pytest.mark.parametrize("doing", ["suspended", "computing"])
def test_a_child_dies_with_its_parent(tmp_path, doing):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), doing],
        stdout=subprocess.PIPE,
        env=environ_with_repository(),
    )
    try:
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
        until_true(lambda: not is_running(child))
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_the_objective_is_written_once_and_removed_with_it(tmp_path):
    objective = PythonObjective(with_parameters(lambda config, data: 1, data=b"x" * 100_000))
    path = pickled(objective)
    assert path == pickled(objective)
    assert path.stat().st_size > 100_000
    del objective
    assert not path.exists()


def test_a_function_that_cannot_be_loaded_in_the_child_is_a_failure(opened):
    class Unloadable:
        def __call__(self, config):
            return 1

        def __reduce__(self):
            return (_raise, ())

    _, failure = pull_all(opened(Unloadable()))
    assert str(failure) == "RuntimeError: it needs the parent"


def _raise():
    raise RuntimeError("it needs the parent")


def test_the_child_resumes_with_the_next_segment(opened, tmp_path):
    def train(config):
        while True:
            report(loss=current_trial().until, segment=int(os.environ["TUNEFLOW_UNTIL"]))

    stream = opened(train, until=1)
    assert pull(stream).metrics == {"loss": 1.0, "segment": 1.0}
    stream.resume(context(tmp_path, until=3))
    second = pull(stream)
    assert (second.resource, second.metrics) == (2, {"loss": 3.0, "segment": 3.0})


def test_the_parents_environment_and_import_path_are_the_childs(opened, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    seen = {"path": list(sys.path)}

    def train(config):
        same = sys.path == seen["path"] and os.environ["PYTHONPATH"] == "/somewhere"
        return {"loss": same, "trial": int(os.environ["TUNEFLOW_TRIAL"])}

    (only,), failure = pull_all(opened(train))
    assert failure is None
    assert only.metrics == {"loss": 1.0, "trial": 7.0}


def test_large_values_pass_the_pipes(opened):
    params = {"text": "x" * 500_000}

    def train(config):
        report({f"metric-{number}": number for number in range(20_000)}, loss=len(config["text"]))

    (only,), failure = pull_all(opened(train, params=params))
    assert failure is None
    assert only.metrics["loss"] == 500_000
    assert len(only.metrics) == 20_001


def test_objectives_survive_pickling_by_their_executor():
    import cloudpickle

    objective = pickle.loads(cloudpickle.dumps(PythonObjective(lambda config: 1, {"A": "b"}, 3.0)))
    assert (objective.function({}), objective.env, objective.timeout) == (1, {"A": "b"}, 3.0)
