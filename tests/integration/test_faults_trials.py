"""Trials that hang, take their workers along, or eat all memory, on Dask."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import signal
import time
from collections import Counter

import dask
import psutil
import pytest

import tuneflow
from tests.clusters import await_workers, is_alive, scheduler, until, worker
from tests.end_to_end import entries, outcomes, reported
from tests.storages import storage_of
from tuneflow.events import Closed
from tuneflow.executors.dask import DaskExecutor

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LEVELS = 4
POISON = 1
"""The trial that misbehaves."""


@pytest.fixture
def impatient(monkeypatch):
    """Schedulers that give a worker up which has said nothing for 5 seconds; 300 are usual."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "1s")
    with dask.config.set({"distributed.scheduler.worker-ttl": "1s"}):
        yield


class Notes:
    """Lines in a file that trials append to."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def add(self, *words):
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(file, f"{' '.join(map(str, words))}\n".encode())
        os.close(file)

    @property
    def steps(self):
        """What was computed: trial, level and process."""
        return [tuple(map(int, line.split())) for line in self.path.read_text().splitlines()]

    def tries(self, trial):
        """Return the processes that a trial was run by, one after the other."""
        return list(dict.fromkeys(pid for number, _, pid in self.steps if number == trial))


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes")


def save(level, folder):
    (folder / "level").write_text(str(level))


def objective(notes, misbehave, at=2):
    """Return an objective whose second trial misbehaves in the middle of a step."""

    def train(config):
        saved = tuneflow.checkpoint()
        first = int((saved / "level").read_text()) + 1 if saved else 1
        for level in range(first, LEVELS + 1):
            notes.add(config["x"], level, os.getpid())
            if (config["x"], level) == (POISON, at):
                misbehave()
            yield {"loss": 1 / (config["x"] + level)}, functools.partial(save, level)

    return train


def once(path, act):
    """Return what does something the first time that it is called, by whatever process."""

    def misbehave():
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return
        act()

    return misbehave


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def hold_everything():
    """Sleep without letting any other thread of Python run."""
    ctypes.PyDLL(None).sleep(3600)


def sleep():
    while True:
        time.sleep(0.1)


def end():
    os._exit(1)


def tune(folder, train, trials=4, losses=3, study=(), **executor):
    """Run a study of as many trials, each of which makes four steps."""
    return tuneflow.tune(
        train,
        space={"x": {"type": "grid", "values": list(range(trials))}},
        searcher="grid",
        scheduler={"type": "fifo", "max_resource": LEVELS},
        metric="loss",
        mode="min",
        name="study",
        storage=storage_of(folder),
        budget={"max_losses_per_trial": losses},
        **dict(study),
        executor=DaskExecutor(**executor),
        progress=False,
    )


def assert_only_the_poison_failed(result, kind):
    """Make sure of it, and return what was said of it."""
    assert result.state == "finished"
    assert {trial.number for trial in result.failed} == {POISON}
    failure = result.trials[POISON].failure
    assert failure.kind == kind
    others = [trial for trial in result.trials if trial.number != POISON]
    assert {trial.resource for trial in others} == {LEVELS}
    assert set(reported(result).values()) == {1}
    closed = [fact for fact in result.history.facts if isinstance(fact, Closed)]
    assert {fact.status for fact in closed if fact.trial != POISON} == {"paused"}
    return failure.message


def assert_all_is_well(result):
    """Make sure that every trial got to its end in one segment, and no level counts twice."""
    assert (result.state, result.failed) == ("finished", [])
    assert {trial.resource for trial in result.trials} == {LEVELS}
    assert set(reported(result).values()) == {1}
    closed = Counter(fact.status for fact in result.history.facts if isinstance(fact, Closed))
    assert closed == {"paused": len(result.trials)}


class TestStoppedWorkers:
    def test_the_trials_of_one_that_stays_stopped_go_on_elsewhere(self, tmp_path, notes, impatient):
        """Its nanny ends it once the scheduler has missed it for long enough."""
        train = objective(notes, once(tmp_path / "stopped", stop))
        result = tune(tmp_path, train)
        assert_all_is_well(result)
        assert len(notes.tries(POISON)) == 2

    def test_one_that_comes_back_later_changes_nothing(self, tmp_path, notes, impatient):
        """A zombie: the segment that it was at has been run by another one."""
        train = objective(notes, once(tmp_path / "stopped", stop))
        with (
            scheduler(tmp_path) as (address, _),
            worker(address, "--no-nanny"),
            worker(address, "--no-nanny"),
        ):
            await_workers(address, 2)
            result = tune(tmp_path, train, address=address)
            assert_all_is_well(result)
            before = entries(result.url), outcomes(result.url)
            zombie = psutil.Process(notes.tries(POISON)[0])
            assert zombie.status() == psutil.STATUS_STOPPED
            zombie.send_signal(signal.SIGCONT)
            until(lambda: not is_alive(zombie))
        assert (entries(result.url), outcomes(result.url)) == before
        result = tuneflow.load(result.url)
        assert_all_is_well(result)
        for trial in result.trials:
            newest = result.checkpoint(trial, tmp_path / str(trial.number)) / "level"
            assert newest.read_text() == str(LEVELS)


class TestHangs:
    def test_one_that_holds_its_worker_goes_on_elsewhere_and_is_lost_if_it_does_so_again(
        self, tmp_path, notes, impatient
    ):
        result = tune(tmp_path, objective(notes, hold_everything), losses=0)
        assert "4 workers" in assert_only_the_poison_failed(result, "lost")
        assert len(notes.tries(POISON)) == 4

    @pytest.mark.parametrize("hang", [hold_everything, sleep])
    def test_a_process_of_its_own_can_be_ended_whatever_it_does(self, hang, tmp_path, notes):
        train = objective(notes, hang)
        result = tune(tmp_path, train, isolation="process", timeout=8.0)
        said = assert_only_the_poison_failed(result, "timeout")
        assert said == "the segment took more than 8 seconds"

    def test_a_thread_that_sleeps_for_ever_fails_and_its_worker_goes_on(self, tmp_path, notes):
        result = tune(tmp_path, objective(notes, sleep), workers=1, timeout=5.0)
        said = assert_only_the_poison_failed(result, "timeout")
        assert "its thread runs on" in said
        assert len({pid for _, _, pid in notes.steps}) == 1


class TestPoison:
    @pytest.mark.parametrize("losses", [0, 1])
    def test_one_that_ends_its_worker_each_time_is_lost_after_as_many_tries(
        self, losses, tmp_path, notes
    ):
        result = tune(tmp_path, objective(notes, end), losses=losses)
        assert "4 workers" in assert_only_the_poison_failed(result, "lost")
        # While no worker is left Dask chooses the next one, and begins it again by itself if
        # that one dies before it was heard of.
        runs = 1 + losses
        assert 4 * runs <= len(notes.tries(POISON)) <= 5 * runs

    @pytest.mark.parametrize("round_size", [None, "all"])
    def test_what_it_had_come_to_before_it_was_lost_counts(self, round_size, tmp_path, notes):
        """What a worker says in its last milliseconds is not heard."""

        def end_in_a_while():
            time.sleep(0.5)
            end()

        study = {"round_size": round_size, "checkpoints": {"background": False}}
        train = objective(notes, end_in_a_while, at=3)
        result = tune(tmp_path, train, trials=2, losses=1, study=study)
        assert_only_the_poison_failed(result, "lost")
        assert result.trials[POISON].resource == 2
        computed = Counter(level for trial, level, _ in notes.steps if trial == POISON)
        assert computed == {1: 1, 2: 1, 3: 8}

    def test_those_beside_it_on_the_same_worker_are_not_blamed(self, tmp_path, notes):
        """Their first step takes longer than it needs to end the worker, each time."""
        bad = objective(notes, end, at=1)

        def train(config):
            if config["x"] != POISON and tuneflow.checkpoint() is None:
                time.sleep(3.0)
            yield from bad(config)

        result = tune(tmp_path, train, trials=3, losses=0, workers=1, threads_per_worker=3)
        assert_only_the_poison_failed(result, "lost")


def eat():
    """Take more and more memory, as fast as a machine can bear."""
    eaten = []
    while True:
        eaten.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.01)


def eat_within_a_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (64 << 20), hard))
    eat()


class TestMemory:
    def test_one_that_eats_its_worker_s_memory_is_lost_and_the_others_are_not(
        self, tmp_path, notes
    ):
        with (
            scheduler(tmp_path) as (address, _),
            worker(address, "--memory-limit", "500MB", "--local-directory", tmp_path),
            worker(address, "--memory-limit", "500MB", "--local-directory", tmp_path),
        ):
            await_workers(address, 2)
            result = tune(tmp_path, objective(notes, eat), losses=0, address=address)
        said = assert_only_the_poison_failed(result, "lost")
        assert "4 workers" in said
        assert "memory" in said

    def test_one_in_a_process_with_a_limit_says_that_memory_is_out(self, tmp_path, notes):
        train = objective(notes, eat_within_a_limit)
        result = tune(tmp_path, train, isolation="process")
        assert_only_the_poison_failed(result, "MemoryError")
