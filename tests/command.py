"""The ``tuneflow`` command in a process of its own, and studies for it to run."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import yaml

from tests.storages import BASE, objects, storage_of

TRAIN = '''
import math, os, time
import tuneflow

def train(config):
    for epoch in range(1, 100):
        print("epoch", epoch)
        yield {"accuracy": config["x"] - 1 / epoch}

def raises(config):
    if config["x"] > 0.5:
        raise ValueError("x is too large")
    return config["x"]

def always_raises(config):
    raise ValueError("never works")

def nan(config):
    return math.nan

def wrong_metric(config):
    return {"accuracyy": config["x"]}

def dies(config):
    os.kill(os.getpid(), 9)

def hangs(config):
    time.sleep(600)

def paced(config):
    """Note each step in a file; wait while there are as many as the file 'limit' says."""
    saved = tuneflow.checkpoint()
    first = int((saved / "epoch").read_text()) + 1 if saved else 1
    for epoch in range(first, 100):
        with open("steps", "a") as steps:
            print(tuneflow.current_trial().number, epoch, file=steps)
        while is_at_limit():
            time.sleep(0.01)
        yield {"accuracy": config["x"] - 1 / epoch}, lambda d: (d / "epoch").write_text(str(epoch))

def is_at_limit():
    try:
        return len(open("steps").readlines()) >= int(open("limit").read())
    except FileNotFoundError:
        return False
    except ValueError:
        return True  # the limit is just being changed
'''
STUDY = {
    "name": "example",
    "objective": "train.py:train",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "metric": "accuracy",
    "mode": "max",
    "scheduler": {"type": "asha", "max_resource": 4, "reduction_factor": 2},
    "trials": 4,
}


def shell(script, **more):
    """Changes to the study that make a shell script its objective."""
    return {"objective": {"command": ["/bin/sh", "-c", script], **more}, "scheduler": "fifo"}


def write(folder, **changes):
    """Write study.yaml, keys changed, or left out where they are None."""
    place = {"storage": storage_of(folder)} if BASE in os.environ else {}
    data = {**STUDY, **place, **changes}
    data = {key: value for key, value in data.items() if value is not None}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def command(*arguments):
    """Return the command line of ``tuneflow``."""
    return [sys.executable, "-m", "tuneflow", *map(str, arguments)]


def tuneflow(*arguments, cwd, env=None, timeout=60):
    """Run ``tuneflow`` to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )


def run(folder, *arguments, **options):
    """Run study.yaml."""
    return tuneflow("run", "study.yaml", *arguments, cwd=folder, **options)


def error_of(done):
    """Return the error, and make sure that it is one line, and the last one."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == lines[0]
    return lines[0].removeprefix("error: ")


def wait_until(condition, process, seconds=30):
    """Wait until something is true that a process is about to make true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def url_of(folder):
    """Return the URL of the study that study.yaml makes."""
    return f"{storage_of(folder)}/example"


def journal(folder):
    """Return the journal of that study: names of entries to bytes."""
    found = objects(url_of(folder), "journal/*")
    assert found
    return {key.rpartition("/")[2]: data for key, data in found.items()}
