"""Segments of stored studies as Dask tasks of their own, on real worker processes.

Objectives are defined inside functions, so that they travel to the workers by value. What they
wait for is a file that the test creates.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client

from tests.clusters import await_workers, cluster, scheduler, until, worker
from tests.end_to_end import saved
from tuneflow.errors import ClusterError, CorruptError, ObjectiveError, StudyNotFoundError
from tuneflow.executors.placement import Request
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import read_outcome
from tuneflow.remote.cluster import (
    Cluster,
    ClusterAddress,
    OrderCancelledError,
    SchedulerLostError,
)
from tuneflow.remote.code import Code
from tuneflow.remote.orders import Answer, SegmentOrder
from tuneflow.rounds import open_round
from tuneflow.spec import study_from_json
from tuneflow.trial import outcome_path

pytestmark = pytest.mark.integration

LEVELS = 3


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
    made = SimpleNamespace(notes=tmp_path / "notes", gate=tmp_path / "gate")
    made.notes.touch()
    yield made
    # A trial that still waits would keep its worker from the next test.
    made.gate.touch()


@pytest.fixture
def opened(storage):
    """A study with a first round of two trials, each of them to be run to level 3."""
    return new_study(storage)


def new_study(storage, **more):
    spec = {
        "name": "study",
        "objective": {"callable": "train"},
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "scheduler": {"type": "successive_halving", "min_resource": LEVELS, "max_resource": 9},
        "trials": 2,
        "round_size": "all",
        **more,
    }
    opened = OpenStudy.create(study_from_json(spec), storage)
    open_round(opened, 0)
    return opened


def order(opened, train, trial=0, base=Path(), **more):
    code = train if isinstance(train, Code) else Code.of(train, base)
    return SegmentOrder(opened.url, trial, 0, code, **more)


def answer(connection, given):
    return Answer.from_json(connection.result(connection.submit(given)))


def outcome(opened, trial=0):
    path = outcome_path(trial, 0)
    [data] = opened.store.get_many([path])
    return None if data is None else read_outcome(data, path)


def quick(place):
    def train(config):
        for level in range(1, 10):
            note(place, level)
            yield {"loss": config["x"] + 1 / level}

    return train


def waiting(place):
    """An objective that waits for the gate after its first level, and checkpoints each."""

    def train(config):
        import tuneflow

        folder = tuneflow.checkpoint()
        done = int((folder / "level").read_text()) if folder else 0
        for level in range(done + 1, 10):
            note(place, level)
            while level > 1 and not place.gate.exists():
                time.sleep(0.01)
            saved = place.notes.parent / f"checkpoint-{os.getpid()}-{level}"
            saved.mkdir()
            (saved / "level").write_text(str(level))
            tuneflow.report({"loss": 1 / level}, checkpoint=saved)

    return train


def executing(dask_worker):
    return len(dask_worker.state.executing)


def known(dask_scheduler):
    return list(dask_scheduler.tasks)


def note(place, what):
    with place.notes.open("a") as file:
        file.write(f"{os.getpid()} {what}\n")


def is_held(opened, place):
    """Return whether the trial of `waiting` waits, with its first level saved."""
    return len(noted(place)) == 2 and saved(opened.url)


def noted(place):
    return [tuple(map(int, line.split())) for line in place.notes.read_text().splitlines()]


def test_it_runs_a_segment_and_stores_its_outcome(connection, opened, place):
    found = answer(connection, order(opened, quick(place)))
    stored = outcome(opened)
    assert (found.status, found.resource, found.value) == (
        "paused",
        3,
        stored.reports[-1].metrics["loss"],
    )
    assert [report.resource for report in stored.reports] == [1, 2, 3]
    assert stored.worker


def test_a_segment_with_an_outcome_does_not_run_again(connection, opened, place):
    first = answer(connection, order(opened, quick(place)))
    assert answer(connection, order(opened, quick(place), attempt=2)) == first
    assert [level for _, level in noted(place)] == [1, 2, 3]


def test_it_goes_on_when_nobody_is_connected(shared, opened, place):
    with Cluster(ClusterAddress(shared), Request()) as connection:
        connection.submit(order(opened, waiting(place)))
    place.gate.touch()
    assert until(lambda: outcome(opened)).status == "paused"
    with Client(shared, set_as_default=False) as client:
        # Neither do its remains stay there.
        until(lambda: client.run_on_scheduler(known) == [])


def test_an_order_that_is_under_way_is_not_begun_again(shared, connection, opened, place):
    given = order(opened, waiting(place))
    first = connection.submit(given)
    until(lambda: noted(place))
    with Cluster(ClusterAddress(shared), Request()) as other:
        futures = [first, connection.submit(given), other.submit(given)]
        place.gate.touch()
        found = [connection.result(future) for future in futures[:2]]
        found.append(other.result(futures[2]))
    assert found == [Answer.of(outcome(opened), "loss").to_json()] * 3
    assert [level for _, level in noted(place)] == [1, 2, 3]


def test_of_two_tries_at_the_same_segment_one_outcome_counts(connection, opened, place):
    futures = [
        connection.submit(order(opened, waiting(place), attempt=attempt)) for attempt in (1, 2)
    ]
    # The second may have gone on from the first one's checkpoint.
    until(lambda: len({pid for pid, level in noted(place) if level == 2}) == 2)
    place.gate.touch()
    first, second = (Answer.from_json(connection.result(future)) for future in futures)
    assert first == second == Answer.of(outcome(opened), "loss")


def test_whoever_listens_hears_what_is_reported(connection, opened, place):
    given, heard = order(opened, waiting(place)), []
    connection.listen(given.key, heard.append)
    future = connection.submit(given)
    until(lambda: heard)
    connection.unlisten(given.key)
    place.gate.touch()
    connection.result(future)
    assert heard[0].resource == 1
    assert heard[0].metrics == {"loss": 1.0}


def test_a_trial_that_fails_is_answered_with_its_failure(connection, opened):
    def train(config):
        raise RuntimeError("no data")

    found = answer(connection, order(opened, train))
    assert (found.status, found.kind, found.failure) == ("failed", "RuntimeError", "no data")
    assert outcome(opened).status == "failed"


class TestCancelling:
    def test_a_running_order_ends_without_an_outcome_and_can_be_given_again(
        self, connection, opened, place
    ):
        given = order(opened, waiting(place))
        future = connection.submit(given)
        until(lambda: is_held(opened, place))
        connection.cancel([given.key])
        with pytest.raises(OrderCancelledError, match="was cancelled on the Dask cluster at tcp"):
            connection.result(future)
        place.gate.touch()
        again = order(opened, waiting(place), attempt=2)
        assert answer(connection, again).status == "paused"
        assert [level for _, level in noted(place)] == [1, 2, 2, 3]

    def test_whoever_else_waits_for_it_learns_of_it(self, shared, connection, opened, place):
        given = order(opened, waiting(place))
        future = connection.submit(given)
        until(lambda: noted(place))
        with Cluster(ClusterAddress(shared), Request()) as other:
            other.cancel([given.key])
        with pytest.raises(OrderCancelledError):
            connection.result(future)
        place.gate.touch()
        # The same key, while the run that was cancelled comes to its end.
        until(lambda: answer(connection, given).status == "paused")

    def test_a_waiting_order_never_begins(self, connection, storage, place):
        opened = new_study(storage, trials=3)
        running = [connection.submit(order(opened, waiting(place), trial)) for trial in (0, 1)]
        until(lambda: len({pid for pid, _ in noted(place)}) == 2)
        last = order(opened, waiting(place), 2)
        future = connection.submit(last)
        connection.cancel([last.key])
        with pytest.raises(OrderCancelledError):
            connection.result(future)
        place.gate.touch()
        for one in running:
            connection.result(one)
        assert outcome(opened, 2) is None
        assert len([level for _, level in noted(place) if level == 1]) == 2

    def test_an_objective_in_a_process_is_ended_at_once(self, connection, opened, place):
        given = order(opened, waiting(place), isolation="process")
        connection.submit(given)
        until(lambda: len(noted(place)) == 2)
        connection.cancel([given.key])
        pid = noted(place)[0][0]
        until(lambda: not Path(f"/proc/{pid}").exists())
        assert outcome(opened) is None

    def test_an_order_that_nobody_knows_can_be_cancelled(self, connection):
        connection.cancel(["tuneflow-0123456789abcdef-0-0-1"])


@pytest.mark.slow
class TestDeaths:
    @pytest.fixture
    def address(self, tmp_path):
        """A scheduler without workers."""
        with scheduler(tmp_path) as (address, _):
            yield address

    def test_a_killed_worker_costs_nothing_but_the_level_it_was_at(self, address, opened, place):
        with worker(address, "--no-nanny"), worker(address, "--no-nanny"):
            await_workers(address, 2)
            with Cluster(ClusterAddress(address), Request()) as connection:
                future = connection.submit(order(opened, waiting(place)))
                until(lambda: is_held(opened, place))
                os.kill(noted(place)[0][0], signal.SIGKILL)
                place.gate.touch()
                assert connection.result(future)["status"] == "paused"
        assert [level for _, level in noted(place)] == [1, 2, 2, 3]
        assert [report.resource for report in outcome(opened).reports] == [1, 2, 3]

    def test_what_kills_every_worker_is_one_sentence(self, address, opened):
        def train(config):
            os.kill(os.getpid(), signal.SIGKILL)

        with worker(address, "--nworkers", "1"):
            await_workers(address, 1)
            with Cluster(ClusterAddress(address), Request()) as connection:
                future = connection.submit(order(opened, train))
                with pytest.raises(ClusterError, match=r"^4 workers died with it, the last one at"):
                    connection.result(future)
        assert outcome(opened) is None

    def test_a_scheduler_that_dies_is_told_from_an_order_that_ends(self, tmp_path, opened, place):
        with scheduler(tmp_path) as (address, started), worker(address):
            await_workers(address, 1)
            with Cluster(ClusterAddress(address, timeout=5), Request()) as connection:
                given = order(opened, waiting(place))
                future = connection.submit(given)
                started.kill()
                with pytest.raises(SchedulerLostError, match=f"at {address} is lost"):
                    connection.result(future)
                assert connection.is_lost
                with pytest.raises(SchedulerLostError):
                    connection.submit(given)
                with pytest.raises(SchedulerLostError):
                    connection.cancel([given.key])
                with pytest.raises(SchedulerLostError):
                    connection.listen(given.key, print)

    def test_the_same_order_goes_on_where_another_scheduler_takes_the_place(
        self, tmp_path, opened, place
    ):
        given = order(opened, waiting(place))
        with scheduler(tmp_path) as (address, started), worker(address):
            await_workers(address, 1)
            first = Cluster(ClusterAddress(address), Request())
            future = first.submit(given)
            until(lambda: is_held(opened, place))
            started.kill()
            with pytest.raises(SchedulerLostError):
                first.result(future)
        (tmp_path / "scheduler.json").unlink()
        port = address.rpartition(":")[2]
        with scheduler(tmp_path, "--port", port) as (again, _), worker(again):
            assert again == address
            await_workers(again, 1)
            # The old connection may have come back by itself, without what it was told before.
            assert first.is_lost
            first.close()
            with Cluster(ClusterAddress(again), Request()) as second:
                place.gate.touch()
                assert second.result(second.submit(given))["status"] == "paused"
        assert [level for _, level in noted(place)] == [1, 2, 2, 3]


class TestRoom:
    @pytest.fixture
    def wide(self, tmp_path):
        """A cluster of one worker with four threads and two GPUs."""
        with scheduler(tmp_path) as (address, _):
            devices = {**os.environ, "CUDA_VISIBLE_DEVICES": "3,5"}
            options = ("--no-nanny", "--nthreads", "4", "--resources", "GPU=2")
            with worker(address, *options, env=devices):
                await_workers(address, 1)
                yield ClusterAddress(address)

    def test_no_more_trials_run_at_once_than_there_are_threads_for(self, wide, storage, place):
        opened = new_study(storage, trials=4, resources={"cpu": 2})

        def train(config):
            note(place, 1)
            until(place.gate.exists)
            note(place, -1)
            return 0.0

        with (
            Cluster(wide, Request(cpu=2)) as connection,
            Client(wide.address, set_as_default=False) as client,
        ):
            given = [order(opened, train, trial) for trial in range(4)]
            futures = [connection.submit(one) for one in given]
            until(lambda: client.run(executing) == {next(iter(client.nthreads())): 4})
            until(lambda: len(noted(place)) == 2)
            # The last two wait for the others; told to end, one of them never begins.
            connection.cancel([given[3].key])
            place.gate.touch()
            for future in futures[:3]:
                connection.result(future)
        changes = [change for _, change in noted(place)]
        assert max(itertools.accumulate(changes)) == 2
        assert len(changes) == 6
        assert outcome(opened, 3) is None

    def test_a_trial_in_a_process_sees_the_devices_that_it_was_lent(self, wide, storage):
        opened = new_study(storage, resources={"gpu": 1})

        def train(config):
            return float(os.environ["CUDA_VISIBLE_DEVICES"])

        with Cluster(wide, Request(gpu=1)) as connection:
            found = answer(connection, order(opened, train, isolation="process"))
        assert found.value in (3.0, 5.0)


class TestCode:
    def test_a_file_that_the_worker_does_not_have_runs_there(self, connection, opened, tmp_path):
        file = tmp_path / "own.py"
        file.write_text("def train(config):\n    yield {'loss': 0.5}\n")
        code = Code.of("own.py:train", tmp_path)
        file.unlink()
        assert answer(connection, order(opened, code)).value == 0.5

    def test_a_file_runs_in_a_process_of_its_own(self, connection, opened, tmp_path):
        file = tmp_path / "own.py"
        file.write_text("SIZE = 0.25\ndef train(config):\n    yield {'loss': SIZE}\n")
        code = Code.of({"function": "own.py:train", "env": {"A": 1}}, tmp_path)
        file.unlink()
        assert answer(connection, order(opened, code, isolation="process")).value == 0.25

    def test_a_function_travels_with_the_modules_beside_it(
        self, connection, opened, tmp_path, monkeypatch
    ):
        (tmp_path / "beside_a.py").write_text("import beside_b\nA = 0.5\n")
        (tmp_path / "beside_b.py").write_text("def half(x):\n    return x / 2\n")
        (tmp_path / "beside_c.py").write_text(
            "import beside_a\nfrom beside_b import half\n"
            "def train(config):\n    return half(beside_a.beside_b.half(beside_a.A))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import beside_c

        try:
            code = Code.of(beside_c.train, tmp_path)
        finally:
            for name in "abc":
                del sys.modules[f"beside_{name}"]
        assert answer(connection, order(opened, code)).value == 0.125

    def test_a_missing_package_leaves_no_outcome_and_can_be_mended(
        self, connection, opened, tmp_path
    ):
        file = tmp_path / "own.py"
        file.write_text("import a_library\ndef train(config):\n    return a_library.VALUE\n")
        given = order(opened, "own.py:train", base=tmp_path)
        future = connection.submit(given)
        with pytest.raises(ObjectiveError) as caught:
            connection.result(future)
        assert str(caught.value).endswith("has no module 'a_library'; install it there")
        assert str(caught.value).startswith("the worker tcp://127.0.0.1:")
        assert outcome(opened) is None
        (tmp_path / "a_library.py").write_text("VALUE = 1.5\n")
        assert answer(connection, given).value == 1.5

    def test_a_module_of_ones_own_that_is_missing_has_a_second_remedy(self, connection, opened):
        with pytest.raises(ObjectiveError, match=r"or give the objective as file\.py:function"):
            answer(connection, order(opened, "my_training.model:train"))

    def test_an_error_of_the_import_is_named(self, connection, opened, tmp_path):
        (tmp_path / "own.py").write_text("raise RuntimeError('no licence')\n")
        with pytest.raises(ObjectiveError) as caught:
            answer(connection, order(opened, "own.py:train", base=tmp_path))
        assert "importing own.py failed: RuntimeError: no licence (own.py, line 1)" in str(
            caught.value
        )


class TestErrors:
    def test_an_error_that_others_still_hold_is_not_the_answer_to_a_new_try(
        self, shared, connection, opened, tmp_path
    ):
        file = tmp_path / "own.py"
        file.write_text("import b_library\ndef train(config):\n    return b_library.VALUE\n")
        given = order(opened, "own.py:train", base=tmp_path)
        future = connection.submit(given)
        with pytest.raises(ObjectiveError):
            connection.result(future)
        (tmp_path / "b_library.py").write_text("VALUE = 1.5\n")
        with Cluster(ClusterAddress(shared), Request()) as other:
            assert answer(other, given).value == 1.5
        assert answer(connection, given).value == 1.5

    def test_a_study_that_the_worker_does_not_see_is_one_sentence(self, connection, opened):
        for path in opened.store.list():
            opened.store.delete([path])
        with pytest.raises(StudyNotFoundError, match=f"finds no study at {re.escape(opened.url)}"):
            answer(connection, order(opened, lambda config: 1.0))

    def test_a_segment_that_the_journal_does_not_have_is_one_sentence(self, connection, opened):
        with pytest.raises(CorruptError, match="has no segment 0 of trial 7"):
            answer(connection, order(opened, lambda config: 1.0, trial=7))

    def test_a_study_that_was_begun_anew_is_read_anew(self, connection, storage):
        first = new_study(storage)
        assert answer(connection, order(first, lambda config: config["x"])).value is not None
        first.store.delete(first.store.list())
        second = new_study(storage, seed=1)
        expected = second.history.trials[0].params["x"]
        assert expected != first.history.trials[0].params["x"]
        for attempt in range(2, 6):
            given = order(second, lambda config: config["x"], attempt=attempt)
            assert answer(connection, given).value == expected

    def test_no_scheduler_is_one_sentence(self):
        address = ClusterAddress("tcp://127.0.0.1:1", timeout=0.2)
        with pytest.raises(
            ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "
        ):
            Cluster(address, Request())

    def test_no_worker_is_one_sentence(self, tmp_path):
        said = "has no worker; start one with: dask worker tcp://[^ ]*$"
        with scheduler(tmp_path) as (address, _), pytest.raises(ClusterError, match=said):
            Cluster(ClusterAddress(address, timeout=0.2), Request())

    def test_a_request_that_no_worker_can_meet_is_one_sentence(self, shared):
        with pytest.raises(ClusterError, match="no worker can give a trial 1 thread, 1 GPU"):
            Cluster(ClusterAddress(shared), Request(gpu=1))

    def test_a_worker_with_another_version_is_named(self, shared, monkeypatch):
        monkeypatch.setattr("tuneflow.executors.dask_worker._version", lambda: "9")
        with pytest.raises(ClusterError, match="this process has 9; install the same version"):
            Cluster(ClusterAddress(shared), Request())
