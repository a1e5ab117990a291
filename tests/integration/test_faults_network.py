"""The storage is away, or a worker is cut off: the study waits or goes on elsewhere."""

from __future__ import annotations

import math
import os
import shutil
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest
from distributed import Client

from tests.clusters import await_workers, scheduler, until, worker
from tests.end_to_end import (
    INLINE,
    LOCAL,
    assert_whole,
    entries,
    finish,
    held,
    hold,
    let_go,
    on,
    prepare,
    prepare_anywhere,
    steps,
)
from tests.network import link
from tests.rights import NET_ADMIN, SYS_ADMIN, may
from tuneflow import patience
from tuneflow.events import Closed

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.local("it stops the storage, or cuts off a worker that shares a folder with it"),
]

LONG = {"type": "asha", "max_resource": 12, "min_resource": 12, "reduction_factor": 2}
"""Each trial runs to its end in one segment."""


def let_pass(seconds):
    """Let real time pass: that is the fault."""
    threading.Event().wait(seconds)


def closed(result):
    return Counter(fact.status for fact in result.history.facts if isinstance(fact, Closed))


class TestStorageAway:
    @pytest.mark.parametrize(
        ("seconds", "executor"),
        [
            pytest.param(4, LOCAL, id="dask"),
            pytest.param(4, (*INLINE, "--set", "round_size=all"), id="rounds"),
            pytest.param(60, LOCAL, id="minute", marks=pytest.mark.slow),
        ],
    )
    def test_a_study_waits_for_it_and_goes_on_by_itself(
        self, meddling, s3_url, tmp_path, seconds, executor
    ):
        """Nobody listens in the middle of the study; trials have much to store meanwhile."""
        prepare(tmp_path, storage=s3_url)
        with held(tmp_path, "run", "study.yaml", *executor, limit=9) as started:
            meddling.away()
            let_go(tmp_path)
            let_pass(seconds)
            assert started.poll() is None
            meddling.back()
            finish(started)
        result = assert_whole(f"{s3_url}/example")
        assert closed(result)["lost"] == 0

    def test_a_study_waits_while_it_answers_that_it_cannot(self, meddling, s3_url, tmp_path):
        prepare(tmp_path, storage=s3_url)
        with held(tmp_path, "run", "study.yaml", *LOCAL, limit=9) as started:
            meddling.go_wrong(status=503, times=math.inf)
            let_go(tmp_path)
            until(lambda: len(meddling.met) > 20, 60)
            meddling.faults.clear()
            finish(started)
        assert closed(assert_whole(f"{s3_url}/example"))["lost"] == 0

    def test_a_worker_that_alone_cannot_reach_it_loses_its_trial_to_another_one(
        self, meddling, s3_endpoint, s3_url, tmp_path, monkeypatch
    ):
        """It is patient for a second, and then the trial is tried elsewhere."""
        prepare_anywhere(tmp_path, storage=s3_url, scheduler=LONG, trials=2)
        cut_off = {**os.environ, "AWS_ENDPOINT_URL": meddling.endpoint, patience.VARIABLE: "1"}
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
        with (
            scheduler(tmp_path) as (address, _),
            worker(address),
            worker(address, env=cut_off),
        ):
            await_workers(address, 2)
            with held(tmp_path, "run", "study.yaml", *on(address), limit=8) as started:
                workers = {pid for _, _, pid in steps(tmp_path)}
                assert len(workers) == 2
                meddling.away()
                let_go(tmp_path)
                finish(started)
        result = assert_whole(f"{s3_url}/example", trials=2)
        assert closed(result) == {"paused": 2}


@pytest.fixture
def soon(monkeypatch):
    """Dask takes little time to believe that somebody is gone."""
    # Dask refuses a connection that is given up sooner than after eleven seconds.
    seconds = {"SCHEDULER__WORKER_TTL": 5, "COMM__TIMEOUTS__CONNECT": 3, "COMM__TIMEOUTS__TCP": 11}
    for name, value in seconds.items():
        monkeypatch.setenv(f"DASK_DISTRIBUTED__{name}", f"{value}s")


@pytest.fixture
def far(tmp_path, soon):
    """A cluster with a worker here and one behind a link; the link, and the address."""
    with (
        link() as made,
        scheduler(tmp_path, "--host", made.here) as (address, _),
        worker(address, "--local-directory", str(tmp_path)),
        made.worker(address, "--local-directory", str(tmp_path)),
    ):
        await_workers(address, 2)
        yield made, address


def workers_of(address):
    with Client(address, set_as_default=False) as client:
        return list(client.scheduler_info(n_workers=-1)["workers"])


def is_far(pid):
    """Return whether a process is behind the link."""
    return Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def cut_off(made, address):
    """Cut the link, and wait until the scheduler believes it."""
    made.cut()
    until(lambda: len(workers_of(address)) == 1)


@pytest.mark.skipif(
    not may(SYS_ADMIN, NET_ADMIN) or shutil.which("ip") is None,
    reason="a network namespace needs CAP_SYS_ADMIN, CAP_NET_ADMIN and iproute2",
)
class TestWorkerCutOff:
    def test_its_trial_goes_on_elsewhere_while_it_goes_on_too(self, far, tmp_path):
        made, address = far
        url = prepare_anywhere(tmp_path, scheduler=LONG, trials=2)
        with held(tmp_path, "run", "study.yaml", *on(address), limit=8) as started:
            assert len({pid for _, _, pid in steps(tmp_path)}) == 2
            cut_off(made, address)
            let_go(tmp_path)
            finish(started)
        assert closed(assert_whole(url, trials=2)) == {"paused": 2}

    def test_it_does_no_harm_when_it_comes_back(self, far, tmp_path):
        made, address = far
        url = prepare_anywhere(tmp_path, scheduler=LONG, trials=4)
        with held(tmp_path, "run", "study.yaml", *on(address), limit=8) as started:
            (zombie,) = (pid for pid in {pid for _, _, pid in steps(tmp_path)} if is_far(pid))
            cut_off(made, address)
            # It goes on by itself for some steps, and so does who took its trial over.
            hold(tmp_path, 16)
            until(lambda: len(steps(tmp_path)) >= 16)
            made.mend()
            let_go(tmp_path)
            finish(started)
        assert closed(assert_whole(url, trials=4)) == {"paused": 4}
        known = entries(url)
        # Dask ends such a worker, or has it begin anew.
        until(lambda: not psutil.pid_exists(zombie) or len(workers_of(address)) == 2, 60)
        assert_whole(url, trials=4)
        assert entries(url) == known

    def test_a_short_cut_is_not_noticed(self, far, tmp_path):
        made, address = far
        url = prepare_anywhere(tmp_path, scheduler=LONG, trials=2)
        with held(tmp_path, "run", "study.yaml", *on(address), limit=8) as started:
            pids = {pid for _, _, pid in steps(tmp_path)}
            made.cut()
            let_pass(0.5)
            made.mend()
            let_go(tmp_path)
            finish(started)
        assert {pid for _, _, pid in steps(tmp_path)} == pids
        assert closed(assert_whole(url, trials=2)) == {"paused": 2}
