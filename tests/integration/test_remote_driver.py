"""Drivers of stored studies as Dask tasks: ends, deaths, orders to end, and who fences whom.

Objectives are defined inside functions, so that they travel to the workers by value. What they
wait for is a file that the test creates.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client

from tests.clusters import await_workers, cluster, scheduler, until, worker
from tuneflow.api import load
from tuneflow.errors import ObjectiveError, StudyNotFoundError
from tuneflow.events import Launched, Opened
from tuneflow.executors.placement import Request
from tuneflow.last_place import LastPlace
from tuneflow.opened import OpenStudy
from tuneflow.remote.cluster import Cluster, ClusterAddress, OrderCancelledError
from tuneflow.remote.code import Code
from tuneflow.remote.orders import DriverOrder
from tuneflow.spec import study_from_json

pytestmark = pytest.mark.integration

TRIALS = 6


@pytest.fixture(scope="module")
def shared():
    """The address of a cluster of two workers with one thread each, for tests that harm none."""
    with cluster(2) as address:
        yield address


@pytest.fixture
def connection(shared):
    with Cluster(ClusterAddress(shared), Request()) as made:
        yield made


@pytest.fixture
def place(tmp_path):
    """Files that objectives write to and wait for: notes, and a gate."""
    (tmp_path / "notes").touch()
    return SimpleNamespace(notes=tmp_path / "notes", gate=tmp_path / "gate")


def new_study(storage, **more):
    spec = {
        "name": "study",
        "objective": {"callable": "train"},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "scheduler": {"type": "asha", "max_resource": 4, "reduction_factor": 2},
        "trials": TRIALS,
        **more,
    }
    return OpenStudy.create(study_from_json(spec), storage)


@pytest.fixture
def opened(storage):
    return new_study(storage)


def order(opened, train, **more):
    code = train if isinstance(train, Code) else Code.of(train, Path())
    return DriverOrder(opened.url, code, **more)


def quick(place):
    def train(config):
        import tuneflow

        for level in range(1, 5):
            with place.notes.open("a") as file:
                file.write(f"{tuneflow.current_trial().number} {level}\n")
            yield {"loss": config["x"] / level}

    return train


def waiting(place, first=1):
    """An objective whose trials wait for the gate after their first level, but for the first."""

    def train(config):
        import tuneflow

        number = tuneflow.current_trial().number
        for level in range(1, 5):
            with place.notes.open("a") as file:
                file.write(f"{number} {level}\n")
            while number >= first and level > 1 and not place.gate.exists():
                time.sleep(0.01)
            yield {"loss": config["x"] / level}

    return train


def noted(place):
    return [tuple(map(int, line.split())) for line in place.notes.read_text().splitlines()]


def refreshed(opened):
    opened.refresh()
    return opened.history


def count_workers(address):
    with Client(address, set_as_default=False) as client:
        return len(client.nthreads())


def runs_for_nobody(address):
    """Return whether a worker runs something that the scheduler has taken back."""
    with Client(address, set_as_default=False) as client:
        return any(client.run(_has_cancelled, on_error="ignore").values())


def _has_cancelled(dask_worker):
    return any(task.state == "cancelled" for task in dask_worker.state.tasks.values())


def _knows(key, dask_worker):
    return key in dask_worker.state.tasks


def holder(address, key):
    """Return the process of the worker that a task runs on."""
    with Client(address, set_as_default=False) as client:
        [found] = until(lambda: [at for at, keys in client.processing().items() if key in keys])
        return client.run(os.getpid, workers=[found])[found]


def test_it_drives_a_study_to_its_end(connection, opened, place):
    answer = connection.result(connection.submit(order(opened, quick(place))))
    history = refreshed(opened)
    assert answer == {"state": "finished", "reason": f"all {TRIALS} trials are done"}
    assert history.state == "finished"
    assert len(history.trials) == TRIALS
    assert max(trial.resource for trial in history.trials) == 4


def test_it_takes_no_slot_from_the_trials(opened, place):
    with cluster(1) as address, Cluster(ClusterAddress(address), Request()) as connection:
        answer = connection.result(connection.submit(order(opened, quick(place))))
    assert answer["state"] == "finished"


def test_it_does_not_wait_behind_what_waits_for_a_thread(tmp_path, opened, place):
    last = tmp_path / "last"

    def wait_for(path):
        while not path.exists():
            time.sleep(0.01)

    with (
        cluster(1) as address,
        Cluster(ClusterAddress(address), Request()) as connection,
        Client(address, set_as_default=False) as client,
    ):
        # Of two tasks that are as important, Dask may well begin with the newer one.
        others = [client.submit(wait_for, path, priority=0.5) for path in (place.gate, last)]
        connection.submit(given := order(opened, quick(place)))
        until(lambda: any(client.run(_knows, given.key).values()))
        place.gate.touch()
        until(lambda: refreshed(opened).epoch)
        assert not others[1].done()
        last.touch()
        until(lambda: refreshed(opened).state == "finished")


def test_a_study_in_rounds_is_driven_too(connection, storage, place):
    halving = {"type": "successive_halving", "max_resource": 4, "reduction_factor": 2}
    opened = new_study(storage, scheduler=halving, trials=4, round_size="all")
    answer = connection.result(connection.submit(order(opened, quick(place))))
    assert answer["state"] == "finished"
    refreshed(opened)
    assert opened.rounds == 4


def test_a_study_that_is_finished_runs_nothing(connection, opened, place):
    connection.result(connection.submit(order(opened, quick(place))))
    facts, notes = len(refreshed(opened).facts), noted(place)
    answer = connection.result(connection.submit(order(opened, quick(place), attempt=2)))
    assert answer["state"] == "finished"
    assert (len(refreshed(opened).facts), noted(place)) == (facts, notes)


def test_it_goes_on_when_nobody_is_connected(shared, opened, place):
    with Cluster(ClusterAddress(shared), Request()) as connection:
        connection.submit(order(opened, waiting(place)))
    place.gate.touch()
    until(lambda: refreshed(opened).state == "finished")


def test_trials_run_as_the_order_says(connection, opened, place):
    def train(config):
        with place.notes.open("a") as file:
            file.write(f"{os.getppid()} {os.getpid()}\n")
        yield {"loss": config["x"]}

    connection.result(connection.submit(order(opened, train, isolation="process")))
    assert len({pid for _, pid in noted(place)}) > 2


class TestPlace:
    def test_a_resume_finds_the_cluster(self, shared, connection, opened, place):
        connection.result(connection.submit(order(opened, quick(place))))
        found = LastPlace.recall(opened.store)
        assert found.executor == {"type": "dask", "address": shared}

    def test_what_its_giver_left_stays(self, connection, opened, place):
        given = LastPlace("/project", {"type": "dask", "address": "tls://dask:8786"})
        given.remember(opened.store)
        connection.result(connection.submit(order(opened, quick(place))))
        assert LastPlace.recall(opened.store) == given


class TestFailures:
    def test_a_halted_study_says_why(self, connection, storage):
        def train(config):
            raise RuntimeError("no data")

        opened = new_study(storage, budget={"max_failures": 2})
        answer = connection.result(connection.submit(order(opened, train)))
        assert answer["state"] == "halted"
        assert answer["reason"] == refreshed(opened).halted

    def test_code_that_cannot_be_loaded_burns_no_trial(self, connection, opened):
        given = order(opened, Code({"function": "no_such_module:train"}))
        with pytest.raises(ObjectiveError, match="has no module 'no_such_module'"):
            connection.result(connection.submit(given))
        assert refreshed(opened).trials == []

    def test_a_study_that_workers_do_not_see_is_one_sentence(self, connection, opened, place):
        given = order(SimpleNamespace(url=f"{opened.url}-2"), quick(place))
        with pytest.raises(StudyNotFoundError, match="storage that all workers reach"):
            connection.result(connection.submit(given))

    def test_failed_trials_are_tried_again_once_for_an_order(self, connection, storage, place):
        mended = place.gate

        def train(config):
            import tuneflow

            with place.notes.open("a") as file:
                file.write(f"{tuneflow.current_trial().number} 1\n")
            if not mended.exists():
                raise RuntimeError("no data")
            yield {"loss": config["x"]}

        opened = new_study(storage, trials=2)
        connection.result(connection.submit(order(opened, train)))
        again = order(opened, train, attempt=2, retry_failed=True, epoch=refreshed(opened).epoch)
        connection.result(connection.submit(again))
        assert sorted(number for number, _ in noted(place)) == [0, 0, 1, 1]
        # As when Dask has lost what the driver answered, and runs it again.
        connection.result(connection.submit(again))
        assert len(noted(place)) == 4
        mended.touch()
        last = order(opened, train, attempt=3, retry_failed=True, epoch=refreshed(opened).epoch)
        assert connection.result(connection.submit(last))["state"] == "finished"
        assert refreshed(opened).best() is not None


class TestDeaths:
    @contextmanager
    def three_workers(self, tmp_path):
        with scheduler(tmp_path) as (address, _):
            options = ("--no-nanny", "--local-directory", tmp_path)
            with worker(address, *options), worker(address, *options), worker(address, *options):
                await_workers(address, 3)
                yield address

    def test_a_killed_driver_is_run_again_and_takes_over(self, tmp_path, opened, place):
        with (
            self.three_workers(tmp_path) as address,
            Cluster(ClusterAddress(address), Request()) as connection,
        ):
            given = order(opened, waiting(place))
            future = connection.submit(given)
            until(lambda: len(noted(place)) > 3)
            before = refreshed(opened)
            os.kill(holder(address, given.key), signal.SIGKILL)
            place.gate.touch()
            assert connection.result(future)["state"] == "finished"
        facts = refreshed(opened).facts
        assert before.facts == facts[: len(before.facts)]
        assert [fact.epoch for fact in facts if isinstance(fact, Opened)] == [1, 2]
        launched = [(f.trial, f.segment) for f in facts if isinstance(f, Launched)]
        assert len(set(launched)) == len(launched)
        assert len(opened.history.trials) == TRIALS

    def test_a_finished_segment_is_not_run_again(self, tmp_path, storage, place):
        opened = new_study(storage, scheduler="fifo", max_concurrent=2)
        with (
            self.three_workers(tmp_path) as address,
            Cluster(ClusterAddress(address), Request()) as connection,
        ):
            given = order(opened, waiting(place))
            future = connection.submit(given)
            until(lambda: refreshed(opened).closings)
            os.kill(holder(address, given.key), signal.SIGKILL)
            until(lambda: refreshed(opened).epoch == 2)
            place.gate.touch()
            connection.result(future)
        assert [level for number, level in noted(place) if number == 0] == [1, 2, 3, 4]

    def test_what_it_had_running_elsewhere_makes_room(self, tmp_path, storage, place):
        opened = new_study(storage, scheduler="fifo", trials=2)
        with scheduler(tmp_path) as (address, _):
            options = ("--no-nanny", "--local-directory", tmp_path)
            with worker(address, *options), worker(address, *options):
                await_workers(address, 2)
                with Cluster(ClusterAddress(address), Request()) as connection:
                    given = order(opened, waiting(place, first=0))
                    future = connection.submit(given)
                    until(lambda: {(0, 2), (1, 2)} <= set(noted(place)))
                    os.kill(holder(address, given.key), signal.SIGKILL)
                    # Asking a worker that has just died takes longer than this test waits.
                    until(lambda: count_workers(address) == 1)
                    until(lambda: runs_for_nobody(address))
                    place.gate.touch()
                    connection.result(future)
        # Neither got to its end for a driver that was gone.
        assert [noted(place).count((number, 1)) for number in (0, 1)] == [2, 2]
        assert refreshed(opened).counts["completed"] == 2


class TestOrdersToEnd:
    def test_a_cancelled_driver_leaves_a_study_that_can_be_gone_on_with(
        self, connection, opened, place
    ):
        future = connection.submit(given := order(opened, waiting(place)))
        until(lambda: len(noted(place)) > 3)
        connection.cancel([given.key])
        with pytest.raises(OrderCancelledError):
            connection.result(future)
        until(lambda: refreshed(opened).halted == "interrupted")
        place.gate.touch()
        answer = connection.result(connection.submit(order(opened, waiting(place), attempt=2)))
        assert answer["state"] == "finished"
        assert refreshed(opened).counts["completed"] > 0

    def test_a_driver_that_waits_for_its_trials_ends_at_once(self, connection, storage, place):
        opened = new_study(storage, scheduler="fifo", trials=2)
        future = connection.submit(given := order(opened, waiting(place)))
        until(lambda: (1, 2) in noted(place))
        began = time.monotonic()
        connection.cancel([given.key])
        until(lambda: refreshed(opened).halted == "interrupted")
        assert time.monotonic() - began < 5
        place.gate.touch()
        assert future.cancelled()


class TestTwoDrivers:
    def test_the_second_one_fences_the_first(self, connection, storage, place):
        opened = new_study(storage, scheduler="fifo", max_concurrent=1)
        first = connection.submit(order(opened, waiting(place)))
        until(lambda: (1, 2) in noted(place))
        second = connection.submit(order(opened, waiting(place), attempt=2))
        until(lambda: refreshed(opened).epoch == 2)
        place.gate.touch()
        assert connection.result(second)["state"] == "finished"
        answer = connection.result(first)
        assert answer["state"] == "fenced"
        assert "another driver" in answer["reason"]
        assert len(load(opened.url).trials) == TRIALS
