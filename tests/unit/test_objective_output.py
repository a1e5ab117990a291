"""What trials print goes to their own logs, and scratch files do not pile up."""

# ruff: noqa: T201 - trials under test print

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.objectives import context, environ_with_repository, pull, pull_all
from tuneflow.objective import PythonObjective, scratch
from tuneflow.objective.output import Log
from tuneflow.objective.session import report


def test_two_trials_at_once_print_to_their_own_logs(tmp_path, capsys):
    barrier = threading.Barrier(2, timeout=20)

    def train(config):
        for _ in range(3):
            barrier.wait()
            print(config["name"])
            print(config["name"].upper(), file=sys.stderr)
        return 1

    streams = [
        PythonObjective(train).open(context(tmp_path / name, params={"name": name}))
        for name in ("first", "second")
    ]
    print("the driver's own line")
    for stream in streams:
        pull_all(stream)
    logs = [stream._session.context.log.getvalue().decode() for stream in streams]
    assert logs == ["first\nFIRST\n" * 3, "second\nSECOND\n" * 3]
    assert capsys.readouterr().out == "the driver's own line\n"


def test_stdout_is_put_back_once_no_trial_runs(tmp_path):
    stdout, stderr = sys.stdout, sys.stderr
    streams = [PythonObjective(_two).open(context(tmp_path)) for _ in range(2)]
    pull_all(streams[0])
    assert sys.stdout is not stdout
    streams[1].close(5)
    assert (sys.stdout, sys.stderr) == (stdout, stderr)


def test_a_suspended_trial_leaves_stdout_alone(tmp_path):
    stdout = sys.stdout
    stream = PythonObjective(_two).open(context(tmp_path))
    pull(stream)
    stream.suspend()
    assert sys.stdout is stdout
    log = Log()
    stream.resume(context(tmp_path, log=log))
    pull_all(stream)
    assert log.getvalue() == b"second\n"
    assert sys.stdout is stdout


def test_a_suspended_trial_prints_to_its_log_when_it_is_closed(tmp_path, capsys):
    def train(config):
        try:
            report(loss=1)
        finally:
            print("cleaning up")

    stream = PythonObjective(train).open(context(tmp_path))
    pull(stream)
    stream.suspend()
    assert stream.close(5)
    assert stream._session.context.log.getvalue() == b"cleaning up\n"
    assert capsys.readouterr().out == ""


def _two(config):
    print("first")
    report(loss=1)
    print("second")
    report(loss=2)


def test_a_trials_stdout_is_no_terminal_and_still_a_file(tmp_path):
    def train(config):
        sys.stdout.writelines(["a\n", "b\n"])
        sys.stdout.flush()
        print(sys.stdout.isatty(), sys.stdout.encoding is not None, "ü\udc80")
        return 1

    stream = PythonObjective(train).open(context(tmp_path))
    _, failure = pull_all(stream)
    assert failure is None
    assert stream._session.context.log.getvalue().decode() == "a\nb\nFalse True ü?\n"


def test_a_log_keeps_the_newest_and_says_how_much_it_dropped():
    log = Log(limit=10)
    for number in range(10):
        log.write(b"%d234" % number)
    assert log.getvalue() == b"[30 earlier bytes were dropped]\n34" + b"8234" + b"9234"
    log.write(b"x" * 25)
    assert log.getvalue() == b"[55 earlier bytes were dropped]\n" + b"x" * 10


def test_a_log_within_its_limit_is_whole():
    log = Log(limit=10)
    log.write(b"")
    log.write(b"12345")
    log.write(b"67890")
    assert log.getvalue() == b"1234567890"


def test_a_logs_tail_is_its_last_lines_cut():
    log = Log()
    log.write(b"one\ntwo\n" + b"x" * 5000 + b"\nlast\xff")
    assert log.tail(2, width=10) == "xxxxxxxxxx\nlast\ufffd"


def test_a_file_like_stdout_without_encoding_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    stream = PythonObjective(_two).open(context(tmp_path))
    sys.stdout.write("driver")
    pull_all(stream)
    assert sys.stdout.getvalue() == "driver"


KILLED = """
import os, signal
from tuneflow.objective.scratch import new_path
path = new_path("trial")
path.mkdir()
print(path, flush=True)
{end}
"""


def scratch_of(end):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(end=end)],
        capture_output=True,
        text=True,
        env=environ_with_repository(),
        check=False,
    )
    return Path(done.stdout.strip())


def test_scratch_directories_end_with_their_process():
    path = scratch_of("")
    assert not path.parent.exists()


def test_scratch_directories_of_killed_processes_are_swept():
    path = scratch_of("os.kill(os.getpid(), signal.SIGKILL)")
    mine = scratch.new_path("trial")
    mine.mkdir()
    scratch.sweep()
    assert not path.parent.exists()
    assert mine.exists()


def test_a_fork_does_not_remove_its_parents_scratch_directory():
    code = "sys.exit() if os.fork() == 0 else os.wait(); print(path.exists())"
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(end="import sys\n" + code)],
        capture_output=True,
        text=True,
        env=environ_with_repository(),
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize("prefix", ["trial-1", "objective"])
def test_scratch_paths_are_new(prefix):
    first, second = scratch.new_path(prefix), scratch.new_path(prefix)
    assert first != second
    assert not first.exists()
