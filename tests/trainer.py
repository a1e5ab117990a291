"""Objectives that end-to-end tests copy beside a study file, to be run wherever trials run."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import time
from pathlib import Path

import tuneflow

HERE = Path(__file__).parent
LEVELS = 100


def train(config):
    """Learn, beside this file."""
    yield from learn(config, HERE)


def learn(config, folder):
    """Learn from level to level, so that a value tells which levels it stands on.

    Each step is noted in the file 'steps' of a folder, where the file 'limit' may stop them.
    """
    saved = tuneflow.checkpoint()
    state = json.loads((saved / "state.json").read_text()) if saved else {"level": 0, "loss": 1.0}
    for level in range(state["level"] + 1, LEVELS):
        note(folder / "steps", tuneflow.current_trial().number, level, os.getpid())
        wait_at_limit(folder)
        print("level", level)  # noqa: T201 - this is what its log is made of
        state = {"level": level, "loss": state["loss"] * (1 - config["rate"] / (1 + level))}
        yield {"loss": state["loss"]}, functools.partial(save, state)


def loss_after(config, level):
    """Return what `train` reports at a level if no level was left out or done twice."""
    loss = 1.0
    for done in range(1, level + 1):
        loss *= 1 - config["rate"] / (1 + done)
    return loss


def breaks(config):
    """Fail in the second trial while a file says so."""
    number = tuneflow.current_trial().number
    note(HERE / "steps", number, 1, os.getpid())
    if number == 1 and (HERE / "broken").exists():
        raise RuntimeError("the data is not there")
    return config["rate"]


def misbehaves(config):
    """Do to the process what the configuration says."""
    if config["kind"] == "crash":
        ctypes.string_at(0)
    while config["kind"] == "hang":
        time.sleep(1)
    return config["rate"]


def save(state, folder):
    (folder / "state.json").write_text(json.dumps(state))


def note(path, *words):
    """Append a line to a file; any number of processes may do so at once."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{' '.join(map(str, words))}\n".encode())
    os.close(file)


def wait_at_limit(folder):
    """Wait while there are as many steps as the file 'limit' says."""
    while len((folder / "steps").read_bytes().splitlines()) >= limit(folder):
        time.sleep(0.01)


def limit(folder):
    try:
        return int((folder / "limit").read_text())
    except FileNotFoundError:
        return 1_000_000
