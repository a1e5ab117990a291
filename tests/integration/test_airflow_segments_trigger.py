"""The trigger that watches segments on Dask, and the tasks around it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from airflow.exceptions import AirflowException
from airflow.sdk.exceptions import TaskDeferred

from tests import trainer
from tests.airflow_operators import Stages, within
from tests.clusters import cluster, until
from tests.lasting_cluster import lasting_cluster
from tuneflow.airflow import segments_trigger
from tuneflow.airflow.segments_trigger import SegmentsTrigger
from tuneflow.schedulers import FIFO
from tuneflow.trial import outcome_path

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def dask():
    """The address of a cluster."""
    with cluster(workers=1, threads=4) as address:
        yield address


@pytest.fixture(autouse=True)
def _connection(dask, monkeypatch):
    connect(monkeypatch, dask)
    monkeypatch.setattr(segments_trigger, "_SOONEST", 0.0)


def connect(monkeypatch, address):
    monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address.replace("tcp://", "dask://"))


def waits(folder):
    """Return an objective that reports until there is a file 'go', and notes its begin and end."""

    def train(config):
        trainer.note(folder / "begun", "once")
        try:
            while not (folder / "go").exists():
                time.sleep(0.02)
                yield config["rate"]
        finally:
            trainer.note(folder / "ended", "once")

    return train


def count(folder, name):
    with suppress(FileNotFoundError):
        return len((folder / name).read_text().splitlines())
    return 0


def make(train, storage, **settings):
    """Return a study whose first round is open."""
    stages = Stages(train, storage, **{"trials": 1, **settings})
    stages.begin()
    return stages


def deferred(stages, *segments, try_number=1, **more):
    """Begin a trial task; return its operator, and the trigger that it waits for."""
    operator = stages.trial(*(segments or ((0, 0),)), **more)
    with pytest.raises(TaskDeferred) as caught:
        stages.execute(operator, try_number)
    name, kwargs = caught.value.trigger.serialize()
    assert name.endswith(".SegmentsTrigger")
    return operator, SegmentsTrigger(**kwargs)


async def fired(trigger):
    """Return what a trigger says in the end."""
    (event,) = [event async for event in trigger.run()]
    return event.payload


def is_done(stages, trial=0):
    return stages.opened().store.exists(outcome_path(trial, 0))


async def once(condition):
    await asyncio.to_thread(until, condition)


class TestRunning:
    def test_the_segments_run_on_dask_and_the_task_finds_what_came_of_them(self, storage):
        stages = make(lambda config: config["rate"], storage, trials=3)
        operator, trigger = deferred(stages, (0, 0), (1, 0), (2, 0))
        event = asyncio.run(fired(trigger))
        assert event["error"] == ""
        answers = operator.resume(stages.context, event)
        assert [answer["trial"] for answer in answers] == [0, 1, 2]
        assert all(0.1 <= answer["value"] <= 0.9 for answer in answers)

    def test_search_has_them_begin_and_the_trigger_finds_them_running(self, tmp_path, storage):
        stages = make(waits(tmp_path), storage)
        stages.execute(stages.search())
        until(lambda: count(tmp_path, "begun"))
        _, trigger = deferred(stages)
        (tmp_path / "go").touch()
        assert asyncio.run(fired(trigger))["error"] == ""
        assert count(tmp_path, "begun") == 1

    @pytest.mark.parametrize("how", [{"fan_out": False}, {"try_number": 2}])
    def test_search_leaves_it_to_the_trial_tasks_where_they_are_limited_or_were_cleared(
        self, tmp_path, storage, how
    ):
        stages = make(waits(tmp_path), storage)
        (tmp_path / "go").touch()
        operator = stages.search(fan_out=how.get("fan_out", True))
        stages.execute(operator, how.get("try_number", 1))
        asyncio.run(fired(deferred(stages, try_number=2)[1]))
        assert count(tmp_path, "begun") == 1

    def test_search_begins_with_no_more_than_may_run_at_once(self, tmp_path, storage):
        stages = make(waits(tmp_path), storage, trials=4, max_concurrent=2)
        stages.execute(stages.search())
        until(lambda: count(tmp_path, "begun") == 2)
        (tmp_path / "go").touch()
        until(lambda: is_done(stages, 0) and is_done(stages, 1))
        assert not is_done(stages, 2)
        assert not is_done(stages, 3)

    def test_search_looks_at_the_cluster_at_every_try(self, tmp_path, storage, monkeypatch):
        stages = make(waits(tmp_path), storage)
        connect(monkeypatch, "tcp://127.0.0.1:9?timeout=1")
        with pytest.raises(AirflowException, match="no Dask scheduler answers at"):
            stages.execute(stages.search(), try_number=2)

    def test_a_trigger_that_is_begun_anew_watches_the_segment_that_runs(self, tmp_path, storage):
        stages = make(waits(tmp_path), storage)
        _, trigger = deferred(stages)
        _, again = deferred(stages)

        async def scenario():
            first = asyncio.create_task(fired(trigger))
            await once(lambda: count(tmp_path, "begun"))
            first.cancel()
            await asyncio.wait([first])
            second = asyncio.create_task(fired(again))
            (tmp_path / "go").touch()
            return await second

        assert asyncio.run(scenario())["error"] == ""
        assert count(tmp_path, "begun") == 1

    def test_it_does_not_fire_before_the_task_is_at_rest(self, tmp_path, storage, monkeypatch):
        monkeypatch.undo()
        address = "dask://127.0.0.1:9?timeout=0.01"
        monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address)
        _, trigger = deferred(make(waits(tmp_path), storage))
        began = time.monotonic()
        assert asyncio.run(fired(trigger))["error"]
        assert time.monotonic() - began >= 1

    def test_reports_are_in_the_log(self, storage, capfd):
        def train(config):
            yield {"loss": 0.125}
            yield {"loss": 0.0625}

        _, trigger = deferred(make(train, storage, scheduler=FIFO(max_resource=2)))
        asyncio.run(fired(trigger))
        assert "trial 0 at 1: loss 0.125" in "".join(capfd.readouterr())


class TestEnding:
    def test_a_task_that_is_cleared_ends_its_segment_and_the_next_try_runs_it(
        self, tmp_path, storage
    ):
        stages = make(waits(tmp_path), storage)
        _, trigger = deferred(stages)
        operator, again = deferred(stages, try_number=2)

        async def scenario():
            first = asyncio.create_task(fired(trigger))
            await once(lambda: count(tmp_path, "begun"))
            # The next try begins before the first one is told to end.
            second = asyncio.create_task(fired(again))
            await once(lambda: count(tmp_path, "begun") == 2)
            first.cancel()
            await asyncio.wait([first])
            await trigger.on_kill()
            await once(lambda: count(tmp_path, "ended") == 1)
            assert not is_done(stages)
            (tmp_path / "go").touch()
            return await second

        event = asyncio.run(scenario())
        assert operator.resume(stages.context, event)[0]["status"] == "completed"

    def test_what_an_earlier_try_has_ordered_ends_even_if_no_triggerer_ever_had_it(
        self, tmp_path, storage
    ):
        stages = make(waits(tmp_path), storage)
        stages.execute(stages.search())
        until(lambda: count(tmp_path, "begun"))
        _, trigger = deferred(stages, try_number=2)

        async def scenario():
            watching = asyncio.create_task(fired(trigger))
            await once(lambda: count(tmp_path, "ended") == 1 and count(tmp_path, "begun") == 2)
            assert not is_done(stages)
            (tmp_path / "go").touch()
            return await watching

        assert asyncio.run(scenario())["error"] == ""
        assert is_done(stages)

    def test_a_trigger_whose_segment_somebody_cancels_says_so(self, tmp_path, storage):
        stages = make(waits(tmp_path), storage)
        operator, trigger = deferred(stages)
        _, other = deferred(stages)

        async def scenario():
            watching = asyncio.create_task(fired(trigger))
            await once(lambda: count(tmp_path, "begun"))
            await other.on_kill()
            return await watching

        event = asyncio.run(scenario())
        with pytest.raises(AirflowException, match=r"trial 0: .*cancelled"):
            operator.resume(stages.context, event)

    def test_what_takes_too_long_is_ended_on_dask(self, tmp_path, storage):
        stages = make(waits(tmp_path), storage)
        operator, trigger = deferred(stages)

        async def begin():
            watching = asyncio.create_task(fired(trigger))
            await once(lambda: count(tmp_path, "begun"))
            watching.cancel()
            await asyncio.wait([watching])

        asyncio.run(begin())
        timeout = {"error": "Trigger timeout"}
        with pytest.raises(AirflowException, match="was cancelled on the Dask cluster"):
            within(operator, lambda: operator.resume_execution("__fail__", timeout, stages.context))
        until(lambda: count(tmp_path, "ended"))
        assert not is_done(stages)

    def test_a_cluster_that_is_away_is_told_in_a_sentence(self, tmp_path, storage, monkeypatch):
        connect(monkeypatch, "tcp://127.0.0.1:9?timeout=1")
        stages = make(waits(tmp_path), storage)
        operator, trigger = deferred(stages)
        event = asyncio.run(fired(trigger))
        with pytest.raises(AirflowException, match="no Dask scheduler answers at"):
            operator.resume(stages.context, event)

    def test_an_objective_that_workers_cannot_import_leaves_no_outcome(self, storage):
        stages = make("not_there.module:train", storage)
        operator, trigger = deferred(stages)
        event = asyncio.run(fired(trigger))
        with pytest.raises(AirflowException, match=r"trial 0: the worker .* has no module"):
            operator.resume(stages.context, event)
        assert not is_done(stages)


@pytest.mark.slow
def test_a_dask_scheduler_that_goes_away_is_waited_for(tmp_path, storage, monkeypatch):
    stages = make(waits(tmp_path), storage)
    with lasting_cluster(tmp_path, workers=1, threads=2) as lasting:
        connect(monkeypatch, lasting.address)
        _, trigger = deferred(stages)

        async def scenario():
            watching = asyncio.create_task(fired(trigger))
            await once(lambda: count(tmp_path, "begun"))
            await asyncio.to_thread(lasting.restart)
            await once(lambda: count(tmp_path, "begun") == 2)
            (tmp_path / "go").touch()
            return await watching

        assert asyncio.run(scenario())["error"] == ""
    assert is_done(stages)
