"""Trials on a Dask cluster that train on while their checkpoints go to an S3 server slowly."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import psutil
import pytest

import tuneflow
from tests.clusters import cluster, is_alive, until
from tests.end_to_end import computed, reported, steps
from tests.slow_uploads import slow_uploads
from tests.trainer import note
from tuneflow.events import Closed, Launched

pytestmark = pytest.mark.integration

STUDY = {
    "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
    "metric": "loss",
    "mode": "min",
    "seed": 1,
    "progress": False,
    "name": "slow",
}


def learning(folder):
    """An objective that notes its steps, and finds out whether it goes on from the right place."""

    def save(number, level, loss):
        def write(target):
            (target / "state").write_text(f"trial {number} level {level} {loss}")

        return write

    def train(config):
        this = tuneflow.current_trial()
        saved = tuneflow.checkpoint()
        level, loss = 0, 1.0
        if saved is not None:
            words = (saved / "state").read_text().split()
            level, loss = int(words[3]), float(words[4])
        assert level == this.start
        while True:
            level += 1
            note(folder / "steps", this.number, level, os.getpid())
            loss *= 1 - config["rate"] / (1 + level)
            yield {"loss": loss}, save(this.number, level, loss)

    return train


def went_on(folder, trial, level):
    """Return whether a trial has begun its next step."""
    return (trial, level + 1) in {step[:2] for step in steps(folder)}


def tune(folder, address, url, **more):
    """Run a study on a cluster."""
    executor = {"type": "dask", "address": address}
    return tuneflow.tune(learning(folder), storage=url, executor=executor, **{**STUDY, **more})


def assert_whole(result):
    """Make sure that each report counts once, with the value that the steps before it give."""
    assert result.state == "finished"
    assert result.failed == []
    assert set(reported(result).values()) == {1}


@pytest.fixture
def proxied(s3_endpoint, s3_url, monkeypatch):
    """Start a proxy with what it is to hold, and point this process and its children to it."""
    with ExitStack() as stack:

        def start(hold):
            uploads = stack.enter_context(slow_uploads(s3_endpoint, hold))
            monkeypatch.setenv("AWS_ENDPOINT_URL", uploads.endpoint)
            return uploads

        yield start


SCHEDULERS = {
    "asha": {"type": "asha", "min_resource": 2, "max_resource": 8, "reduction_factor": 2},
    "pbt": {"type": "pbt", "max_resource": 6, "interval": 2},
}


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_trials_train_on_and_only_what_is_stored_counts(kind, tmp_path, proxied, s3_url):
    """Each upload but the last of a segment takes until the trial has begun its next step."""
    stuck, waited = [], []

    def hold(trial, level):
        if level % 2 == 0:
            # Here segments end.
            return True
        waited.append((trial, level))
        deadline = time.monotonic() + 20
        while not went_on(tmp_path, trial, level):
            if time.monotonic() > deadline:
                stuck.append((trial, level))
                break
            time.sleep(0.01)
        return True

    uploads = proxied(hold)
    with cluster(workers=2) as address:
        result = tune(tmp_path, address, s3_url, scheduler=SCHEDULERS[kind], trials=4)
    assert_whole(result)
    assert waited
    assert stuck == []
    assert set(uploads.at_once.values()) == {1}
    assert uploads.early == []
    launches = [fact for fact in result.history.facts if isinstance(fact, Launched)]
    resumed = [fact.checkpoint for fact in launches if fact.segment > 0]
    assert len(resumed) >= 3
    assert set(resumed) <= uploads.stored


def test_the_last_checkpoint_is_stored_before_the_segment_s_outcome(tmp_path, proxied, s3_url):
    without = []

    def hold(trial, level):
        if level == 3:
            # The trial is at its end, and nothing but this upload is left to wait for.
            until(lambda: (trial, level) in computed(tmp_path))
            without.append(len(uploads.outcomes))
        return True

    uploads = proxied(hold)
    fifo = {"type": "fifo", "max_resource": 3}
    with cluster(workers=1) as address:
        result = tune(tmp_path, address, s3_url, scheduler=fifo, trials=2)
    assert_whole(result)
    assert [trial.resource for trial in result.trials] == [3, 3]
    assert without == [0, 1]
    assert uploads.early == []
    assert max(level for _, level in computed(tmp_path)) == 3, "they did not go on meanwhile"


def test_kill_9_in_the_middle_of_an_upload_costs_what_is_not_stored(tmp_path, proxied, s3_url):
    killed = []

    def hold(trial, level):
        if killed or (trial, level) != (0, 4):
            return True
        until(lambda: went_on(tmp_path, trial, level))
        (pid,) = {step[2] for step in steps(tmp_path) if step[0] == trial}
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive_pid(pid))
        return False

    uploads = proxied(hold)
    fifo = {"type": "fifo", "max_resource": 8}
    with cluster(workers=2) as address:
        result = tune(tmp_path, address, s3_url, scheduler=fifo, trials=2)
    assert_whole(result)
    assert len(killed) == 1
    mine = [step for step in steps(tmp_path) if step[0] == 0]
    again = [level for _, level, pid in mine if pid not in killed]
    assert again == [4, 5, 6, 7, 8], "the newest stored one was that of level 3"
    assert uploads.early == []
    assert set(uploads.at_once.values()) == {1}
    closed = [fact.status for fact in result.history.facts if isinstance(fact, Closed)]
    assert closed == ["paused", "paused"], "none was lost"


def is_alive_pid(pid):
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False
