"""Machines that are taken away, with real processes: with notice nothing is computed twice.

A trial, whose periodic checkpoints never come, waits in the middle of its way on a first worker.
A second one joins, the first one is told to go, and the trial goes on from where it was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest
from distributed import Client, Nanny, Scheduler

from tests.clusters import scheduler, until
from tests.command import command, journal, tuneflow, url_of, write
from tests.objectives import environ_with_repository
from tests.preempted import (
    FIRST,
    HELD,
    LEVELS,
    RARELY,
    SECOND,
    LongTrial,
    check_uninterrupted,
    levels,
    names,
    newest_checkpoint,
    objective,
    started,
)
from tests.servers import free_port
from tuneflow.executors.dask_cluster import has_retired
from tuneflow.executors.dask_preemption import NAME, attach
from tuneflow.executors.placement import Request
from tuneflow.opened import OpenStudy
from tuneflow.preemption import FILE, GRACE
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.code import Code
from tuneflow.remote.orders import DriverOrder, SegmentOrder
from tuneflow.rounds import open_round
from tuneflow.spec import study_from_json

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def address(tmp_path):
    with scheduler(tmp_path) as (address, _):
        yield address


NANNY = pytest.mark.parametrize("nanny", [(), ("--no-nanny",)], ids=["nanny", "no nanny"])


@NANNY
@pytest.mark.parametrize("form", ["thread", "process", "command"])
def test_after_sigterm_a_trial_goes_on_elsewhere_from_where_it_was(tmp_path, address, nanny, form):
    with started(tmp_path, address, FIRST, *nanny) as first:
        trial = LongTrial(tmp_path, address, form)
        trial.await_held()
        with started(tmp_path, address, SECOND):
            first.terminate()
            assert first.wait(90) in (0, -signal.SIGTERM)
            opened = trial.await_elsewhere()
    assert check_uninterrupted(opened, trial.levels()).worker == SECOND


@pytest.mark.parametrize("form", ["process", "command"])
def test_so_it_does_where_all_processes_of_the_machine_are_signalled(tmp_path, address, form):
    with started(tmp_path, address, FIRST) as first:
        trial = LongTrial(tmp_path, address, form)
        trial.await_held()
        with started(tmp_path, address, SECOND):
            for process in (*reversed(psutil.Process(first.pid).children(recursive=True)), first):
                process.send_signal(signal.SIGTERM)
            first.wait(90)
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels())


def test_a_worker_whose_process_alone_is_signalled_lets_its_trial_go_too(tmp_path, address):
    with started(tmp_path, address, FIRST) as first:
        trial = LongTrial(tmp_path, address)
        trial.await_held()
        process = psutil.Process(trial.levels()[0][1])
        assert process.ppid() == first.pid
        with started(tmp_path, address, SECOND):
            process.send_signal(signal.SIGTERM)
            until(lambda: not process.is_running())
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels())


@NANNY
def test_a_worker_whose_lifetime_is_over_has_its_trial_save_before(tmp_path, address, nanny):
    life = ("--lifetime", "50s", "--lifetime-stagger", "1s", *nanny)
    with started(tmp_path, address, FIRST, *life) as first:
        trial = LongTrial(tmp_path, address)
        trial.await_held()
        with started(tmp_path, address, SECOND):
            assert first.wait(90) == 0
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels())


@pytest.mark.parametrize("is_there", [True, False], ids=["placed by us", "placed by Dask"])
def test_a_worker_that_is_retired_as_adaptive_clusters_do_lets_its_trial_go(
    tmp_path, address, is_there
):
    trial = None if is_there else LongTrial(tmp_path, address)
    with started(tmp_path, address, FIRST) as first:
        trial = trial or LongTrial(tmp_path, address)
        trial.await_held()
        with started(tmp_path, address, SECOND), Client(address, set_as_default=False) as client:
            client.retire_workers(names=[FIRST], close_workers=True, remove=True)
            first.wait(90)
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels())


def test_a_worker_that_dies_where_another_one_had_retired_has_died(tmp_path, address):
    """Pods keep their addresses, and a trial that kills its workers is to be found out."""
    fixed = ("--no-nanny", "--worker-port", str(free_port()))
    with Client(address, set_as_default=False) as client:
        with started(tmp_path, address, FIRST, *fixed) as first:
            client.retire_workers(names=[FIRST], close_workers=True, remove=True)
            first.wait(90)
            (at,) = (topic for topic in client.get_events() if topic.startswith("tcp://"))
            assert has_retired(client, at)
        with started(tmp_path, address, SECOND, *fixed) as second:
            assert names(client) == [SECOND]
            assert client.nthreads() == {at: 1}
            second.kill()
            until(lambda: not client.nthreads())
            assert not has_retired(client, at)


def test_a_nanny_whose_process_ends_by_itself_does_not_wait_for_its_answer():
    async def end():
        async with (
            Scheduler(port=0, dashboard=False) as scheduler,
            Nanny(scheduler.address, nthreads=1) as nanny,
            Client(scheduler.address, asynchronous=True, set_as_default=False) as client,
        ):
            # Dask gives the worker to who names its parameter so.
            await client.run(lambda dask_worker: attach(dask_worker))  # noqa: PLW0108
            while NAME not in nanny.plugins:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.01)
            # It has come so far in its own end that it does not hear the nanny any more.
            await client.run(lambda dask_worker: dask_worker.stop())
            closing = asyncio.create_task(nanny.close())
            await asyncio.sleep(0.5)
            os.kill(nanny.pid, signal.SIGKILL)
            await asyncio.wait_for(closing, 15)

    asyncio.run(end())


def test_a_notice_file_has_a_worker_take_nothing_more_and_go(tmp_path, address):
    notice = tmp_path / "notice"
    with started(tmp_path, address, FIRST, **{FILE: str(notice)}) as first:
        trial = LongTrial(tmp_path, address)
        trial.await_held()
        with started(tmp_path, address, SECOND):
            notice.touch()
            assert first.wait(90) == 0
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels())


def test_what_does_not_report_in_its_grace_goes_on_from_its_last_checkpoint(tmp_path, address):
    with started(tmp_path, address, FIRST, **{GRACE: "1"}) as first:
        trial = LongTrial(tmp_path, address, checkpoints={"every": 4}, stubborn=True)
        trial.await_held()
        until(lambda: newest_checkpoint(trial.opened()) == 8)
        with started(tmp_path, address, SECOND):
            first.terminate()
            first.wait(90)
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels(), most_repeated=2)


@pytest.mark.parametrize("period", [{"every": 4}, {"every": None, "seconds": 0.05}])
def test_without_notice_no_more_than_a_period_is_computed_twice(tmp_path, address, period):
    with started(tmp_path, address, FIRST, "--no-nanny") as first:
        trial = LongTrial(tmp_path, address, checkpoints=period)
        trial.await_held()
        until(lambda: trial.opened().history.running[0].resource == HELD)
        saved = newest_checkpoint(trial.opened())
        with started(tmp_path, address, SECOND):
            first.kill()
            opened = trial.await_elsewhere()
    check_uninterrupted(opened, trial.levels(), most_repeated=HELD - saved)


def ordered_study(tmp_path):
    spec = {
        "name": "ordered",
        "objective": {"callable": "train"},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "scheduler": {"type": "fifo", "max_resource": LEVELS},
        "trials": 1,
        "checkpoints": RARELY,
    }
    return OpenStudy.create(study_from_json(spec), (tmp_path / "studies").as_uri())


def test_an_order_goes_on_elsewhere_and_whoever_gave_it_does_not_notice(tmp_path, address):
    opened = ordered_study(tmp_path)
    open_round(opened, 0)
    with (
        started(tmp_path, address, FIRST) as first,
        Cluster(ClusterAddress(address), Request()) as cluster,
    ):
        code = Code.of(objective(tmp_path), tmp_path)
        future = cluster.submit(SegmentOrder(opened.url, 0, 0, code))
        until(lambda: len(levels(tmp_path)) >= HELD, 90)
        with started(tmp_path, address, SECOND):
            first.terminate()
            first.wait(90)
            (tmp_path / "go").touch()
            answer = cluster.result(future)
    assert (answer["status"], answer["resource"]) == ("paused", LEVELS)
    assert [level for level, _ in levels(tmp_path)] == list(range(1, LEVELS + 1))


def test_a_driver_goes_on_elsewhere_with_its_trials_from_where_they_were(tmp_path, address):
    opened = ordered_study(tmp_path)
    with (
        started(tmp_path, address, FIRST) as first,
        Cluster(ClusterAddress(address), None) as cluster,
    ):
        code = Code.of(objective(tmp_path), tmp_path)
        future = cluster.submit(DriverOrder(opened.url, code))
        until(lambda: len(levels(tmp_path)) >= HELD, 90)
        with started(tmp_path, address, SECOND):
            first.terminate()
            first.wait(90)
            (tmp_path / "go").touch()
            assert cluster.result(future)["state"] == "finished"
    opened.refresh()
    assert opened.history.epoch == 2
    check_uninterrupted(opened, levels(tmp_path))


TRAIN = f"""
import os, time
from pathlib import Path
import tuneflow

def train(config):
    restored = tuneflow.checkpoint()
    level = int((restored / "level").read_text()) if restored else 0
    while level < {LEVELS}:
        while level >= {HELD} and not os.path.exists("go") and not tuneflow.preempted():
            time.sleep(0.01)
        level += 1
        with open("levels", "a") as file:
            file.write(f"{{level}} {{os.getpid()}}\\n")
        tuneflow.report(
            accuracy=level / 100,
            checkpoint=lambda folder: (folder / "level").write_text(str(level)),
        )
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "notice"])
@pytest.mark.parametrize("executor", ["inline", "dask"])
def test_a_driver_with_its_trials_saves_them_before_it_ends(tmp_path, how, executor):
    (tmp_path / "train.py").write_text(TRAIN)
    spec = {"objective": "train.py:train", "trials": 1, "checkpoints": RARELY}
    write(tmp_path, **spec, scheduler="fifo")
    notice = tmp_path / "notice"
    env = {**environ_with_repository(), FILE: str(notice)}
    run = subprocess.Popen(
        command("run", "study.yaml", "--executor", executor),
        cwd=tmp_path,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: len(levels(tmp_path)) >= HELD, 90)
        family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
        if how == "notice":
            notice.touch()
        for process in family if how != "notice" else ():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.Signals[how])
        _, said = run.communicate(timeout=90)
    finally:
        run.kill()
    assert run.returncode == (130 if how == "SIGINT" else 143), said
    assert "go on with: tuneflow resume" in said
    (tmp_path / "go").touch()
    done = tuneflow("resume", url_of(tmp_path), "--executor", "inline", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [level for level, _ in levels(tmp_path)] == list(range(1, LEVELS + 1))
    assert '"lost"' not in "".join(map(str, journal(tmp_path)))
