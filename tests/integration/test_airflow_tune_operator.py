"""A whole study as one task: by ``dag.test()``, and its trigger by itself, on real Dask workers."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.models.asset import AssetEvent
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException
from airflow.utils.session import create_session
from distributed import Client

import tuneflow
from tests import trainer
from tests.airflow_here import run
from tests.airflow_studies import learns
from tests.clusters import cluster, until
from tests.end_to_end import computed
from tests.lasting_cluster import lasting_cluster
from tuneflow.airflow import driver_trigger
from tuneflow.airflow.connection_pool import shared_cluster
from tuneflow.airflow.driver_trigger import DriverTrigger
from tuneflow.airflow.tune_operator import TuneOperator
from tuneflow.errors import ClusterError, SpecError
from tuneflow.events import Opened
from tuneflow.executors.placement import Request
from tuneflow.last_place import LastPlace
from tuneflow.opened import OpenStudy
from tuneflow.remote import ends
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.code import Code
from tuneflow.remote.orders import DriverOrder
from tuneflow.schedulers import ASHA
from tuneflow.space import Float
from tuneflow.spec import study_from_json

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database")]

TRIALS = 9
STUDY = {
    "space": {"rate": Float(0.1, 0.9)},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "scheduler": ASHA(max_resource=9, reduction_factor=3),
    "trials": TRIALS,
}


@pytest.fixture(scope="module")
def dask():
    """The address of a cluster, for tests that harm none."""
    with cluster(workers=2, threads=2) as address:
        yield address


@pytest.fixture(autouse=True)
def _connection(dask, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", dask.replace("tcp://", "dask://"))


@pytest.fixture
def notes(tmp_path):
    """Where trials take notes."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def dag_of(train, storage, dag_id, **more):
    """Return a DAG that is one operator."""
    settings = {**STUDY, "task_id": "tune", "retries": 0, "storage": str(storage), **more}
    default_args = settings.pop("default_args", {})
    with DAG(dag_id, schedule=None, default_args=default_args) as dag:
        TuneOperator(train=train, **settings)
    return dag


def events(name):
    """Return what the events of an asset say, oldest first."""
    with create_session() as session:
        found = session.query(AssetEvent).order_by(AssetEvent.id).all()
        return [event.extra for event in found if event.asset.name == name]


class TestOperator:
    def test_a_study_runs_as_one_task(self, storage, notes):
        done = run(dag_of(learns(notes), storage, "once"))
        assert done.states == {"tune": ["success"]}
        best, result = done.returned("tune"), tuneflow.load(f"{storage}/once")
        assert result.state == "finished"
        assert len(result.trials) == TRIALS
        assert best == {
            "study": result.url,
            "trial": result.best_trial.number,
            "value": result.best_value,
            "metric": "loss",
            "config": result.best_config,
            "checkpoint": f"{result.url}/{result.best_trial.checkpoint}",
        }

    def test_the_assets_events_say_what_was_found(self, storage, notes):
        outlets = [Asset("told_model"), AssetAlias("told_study")]
        best = run(dag_of(learns(notes), storage, "told", outlets=outlets)).returned("tune")
        assert events("told_model") == [best]
        assert events(best["study"])[0]["config"] == best["config"]

    def test_a_second_run_computes_nothing(self, storage, notes):
        dag = dag_of(learns(notes), storage, "twice")
        first = run(dag).returned("tune")
        before = computed(notes)
        assert run(dag).returned("tune") == first
        assert computed(notes) == before

    def test_a_run_can_be_a_study_of_its_own_with_params_of_its_own(self, storage, notes):
        dag = dag_of(learns(notes), storage, "versions")
        first = run(dag, existing="new", trials=3).returned("tune")
        second = run(dag, existing="new", trials=4).returned("tune")
        assert first["study"] != second["study"]
        counts = [len(tuneflow.load(found["study"]).trials) for found in (first, second)]
        assert counts == [3, 4]

    def test_name_and_storage_are_templates(self, storage, notes):
        place = f"{storage}/{{{{ dag.dag_id }}}}"
        run(dag_of(learns(notes), place, "rendered", name="mine-{{ params.trials }}"), trials=3)
        assert len(tuneflow.load(f"{storage}/rendered/mine-3").trials) == 3

    def test_the_name_tells_operators_of_a_dag_apart(self, storage, notes):
        run(dag_of(learns(notes), storage, "apart", task_id="other", trials=2))
        assert len(tuneflow.load(f"{storage}/apart.other").trials) == 2

    def test_a_resume_by_hand_finds_the_cluster(self, dask, storage, notes):
        run(dag_of(learns(notes), storage, "placed", trials=2))
        place = LastPlace.recall(OpenStudy.open(f"{storage}/placed").store)
        assert place.executor["type"] == "dask"
        assert place.executor["address"] == dask


class TestFailures:
    def test_a_cluster_that_is_away_is_one_sentence(self, storage, notes, monkeypatch, capfd):
        monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", "dask://127.0.0.1:1?timeout=1")
        assert run(dag_of(learns(notes), storage, "away")).states == {"tune": ["failed"]}
        assert "no Dask scheduler answers at tcp://127.0.0.1:1 within 1 s" in said(capfd)

    def test_a_halted_study_fails_at_once_and_goes_on_when_it_is_cleared(
        self, storage, notes, capfd
    ):
        def train(config):
            trainer.note(notes / "begun", tuneflow.current_trial().number)
            if not (notes / "mended").exists():
                raise RuntimeError("no data")
            return config["rate"]

        more = {"scheduler": "fifo", "budget": {"max_failures": 2}, "max_concurrent": 1}
        dag = dag_of(train, storage, "halts", retries=3, **more)
        assert run(dag).states == {"tune": ["failed"]}
        assert "the study was halted: " in said(capfd)
        assert tuneflow.load(f"{storage}/halts").state == "halted"
        (notes / "mended").touch()
        assert run(dag).states == {"tune": ["success"]}
        assert tuneflow.load(f"{storage}/halts").failed == []

    def test_failed_trials_are_tried_again_if_a_param_says_so(self, storage, notes):
        def train(config):
            number = tuneflow.current_trial().number
            trainer.note(notes / "begun", number)
            if number == 1 and not (notes / "mended").exists():
                raise RuntimeError("no data")
            return config["rate"]

        dag = dag_of(train, storage, "again", scheduler="fifo", trials=3)
        run(dag)
        (notes / "mended").touch()
        run(dag)
        assert [trial.number for trial in tuneflow.load(f"{storage}/again").failed] == [1]
        run(dag, retry_failed=True)
        assert tuneflow.load(f"{storage}/again").failed == []
        assert sorted((notes / "begun").read_text().split()) == ["0", "1", "1", "2"]

    def test_a_study_without_a_usable_value_is_one_sentence(self, storage, capfd):
        def train(config):
            return float("nan")

        assert run(dag_of(train, storage, "useless", trials=2)).states == {"tune": ["failed"]}
        assert "has a finite 'loss'; trial 0: loss is nan" in said(capfd)

    def test_code_that_workers_cannot_import_is_one_sentence(self, storage, capfd):
        dag = dag_of("no_such_module:train", storage, "unknown")
        assert run(dag).states == {"tune": ["failed"]}
        assert "has no module 'no_such_module'" in said(capfd)
        assert tuneflow.load(f"{storage}/unknown").trials == []

    def test_a_wrong_spec_is_an_error_when_the_dag_is_made(self, storage):
        with pytest.raises(SpecError, match=r"^trials: "):
            dag_of("module:train", storage, "wrong", trials=0)


def said(capfd):
    out, err = capfd.readouterr()
    return out + err


class TestRetries:
    @pytest.mark.parametrize(
        ("default_args", "given", "expected"),
        [({}, {}, 2), ({"retries": 5}, {}, 5), ({"retries": 5}, {"retries": 1}, 1)],
    )
    def test_there_are_two_unless_somebody_says_otherwise(self, default_args, given, expected):
        with DAG("retrying", schedule=None, default_args=default_args):
            made = TuneOperator(
                task_id="tune", train="module:train", storage="memory://never", **STUDY, **given
            )
        assert made.retries == expected
        assert made.retry_delay == timedelta(seconds=10)


@pytest.fixture
def opened(storage):
    return new_study(storage)


def new_study(storage, **more):
    spec = {
        "name": "study",
        "objective": {"callable": "train"},
        "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
        "metric": "loss",
        "mode": "min",
        "searcher": "random",
        "scheduler": {"type": "asha", "max_resource": 9, "reduction_factor": 3},
        "trials": TRIALS,
        **more,
    }
    return OpenStudy.create(study_from_json(spec), storage)


def trigger_of(opened, train, address, **more):
    order = DriverOrder(opened.url, Code.of(train, trainer.HERE), **more)
    return DriverTrigger(order.to_json(), ClusterAddress(address, timeout=5).to_json(), {})


async def fired(trigger):
    async with aclosing(trigger.run()) as events:
        return (await anext(events)).payload


def refreshed(opened):
    opened.refresh()
    return opened.history


async def until_async(condition):
    await asyncio.to_thread(until, condition)


def epochs(opened):
    return [fact.epoch for fact in refreshed(opened).facts if isinstance(fact, Opened)]


class TestTrigger:
    def test_it_fires_when_the_study_is_finished(self, dask, opened, notes):
        event = asyncio.run(fired(trigger_of(opened, learns(notes), dask)))
        assert event["state"] == "finished"
        assert event["dashboard"].startswith("http://")
        assert refreshed(opened).state == "finished"

    def test_it_is_small_json(self, dask, opened, notes):
        trigger = trigger_of(opened, learns(notes), dask)
        path, kwargs = trigger.serialize()
        again = DriverTrigger(**json.loads(json.dumps(kwargs)))
        assert path == "tuneflow.airflow.driver_trigger.DriverTrigger"
        assert again.order == trigger.order
        assert len(json.dumps(kwargs)) < 20_000

    def test_a_new_triggerer_finds_the_driver_that_runs(self, dask, opened, notes):
        trigger = trigger_of(opened, learns(notes), dask)
        hold(notes, 5)

        async def restart():
            first = asyncio.create_task(fired(trigger))
            await until_async(lambda: steps(notes) >= 5)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            second = asyncio.create_task(fired(DriverTrigger(**trigger.serialize()[1])))
            await asyncio.sleep(0)
            (notes / "limit").unlink()
            return await second

        assert asyncio.run(restart())["state"] == "finished"
        assert epochs(opened) == [1]

    def test_an_end_that_nobody_saw_is_found_in_the_journal(self, dask, opened, notes):
        trigger = trigger_of(opened, learns(notes), dask)
        asyncio.run(fired(trigger))
        assert asyncio.run(fired(trigger))["state"] == "finished"
        assert epochs(opened) == [1]

    def test_a_halt_that_nobody_saw_is_not_undone(self, dask, storage):
        def train(config):
            raise RuntimeError("no data")

        opened = new_study(storage, budget={"max_failures": 1})
        event = asyncio.run(fired(trigger_of(opened, train, dask)))
        again = asyncio.run(fired(trigger_of(opened, train, dask)))
        assert again == {**event, "dashboard": ""}
        assert event["state"] == "halted"
        assert epochs(opened) == [1]

    def test_a_user_who_marks_the_task_ends_the_driver(self, dask, opened, notes):
        trigger = trigger_of(opened, learns(notes), dask)
        hold(notes, 5)

        async def kill():
            running = asyncio.create_task(fired(trigger))
            await until_async(lambda: steps(notes) >= 5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await trigger.on_kill()

        asyncio.run(kill())
        (notes / "limit").unlink()
        until(lambda: refreshed(opened).halted == "interrupted")
        event = asyncio.run(fired(trigger_of(opened, learns(notes), dask, attempt=2)))
        assert event["state"] == "finished"

    def test_it_gives_way_to_another_driver_of_the_study(self, dask, storage, notes):
        opened = new_study(storage, max_concurrent=1)
        hold(notes, 5)

        async def race():
            first = asyncio.create_task(fired(trigger_of(opened, learns(notes), dask)))
            await until_async(lambda: steps(notes) >= 5)
            other = asyncio.create_task(fired(trigger_of(opened, learns(notes), dask, attempt=7)))
            await until_async(lambda: refreshed(opened).epoch == 2)
            (notes / "limit").unlink()
            return await first, await other

        first, other = asyncio.run(race())
        assert (first["state"], other["state"]) == ("fenced", "finished")

    def test_it_says_how_far_the_study_has_come(self, dask, opened, notes, monkeypatch, capfd):
        monkeypatch.setattr(driver_trigger, "_EVERY", 0.05)
        trigger, heard = trigger_of(opened, learns(notes), dask), []
        hold(notes, 20)

        def has_said():
            heard.append(said(capfd))
            return "best loss 0." in "".join(heard)

        async def follow():
            running = asyncio.create_task(fired(trigger))
            await until_async(has_said)
            (notes / "limit").unlink()
            await running

        asyncio.run(follow())
        assert f" of {TRIALS} trials done, " in "".join(heard)

    def test_a_study_that_is_gone_is_one_sentence(self, dask, notes):
        missing = OpenStudyAt("file:///no/such/study")
        event = asyncio.run(fired(trigger_of(missing, learns(notes), dask)))
        assert event["state"] == "error"
        assert event["reason"].startswith("there is no study at file:///no/such/study")


class OpenStudyAt:
    def __init__(self, url):
        self.url = url


def hold(notes, count):
    (notes / "steps").touch()
    (notes / "limit").write_text(str(count))


def steps(notes):
    return len((notes / "steps").read_bytes().splitlines())


class TestLosses:
    def test_a_dask_scheduler_that_is_restarted_costs_no_finished_segment(
        self, tmp_path, opened, notes
    ):
        with lasting_cluster(tmp_path, workers=2, threads=2) as dask:
            trigger = trigger_of(opened, learns(notes), dask.address)
            hold(notes, 20)

            async def restart():
                running = asyncio.create_task(fired(trigger))
                await until_async(lambda: steps(notes) >= 20)
                await asyncio.to_thread(dask.restart)
                (notes / "limit").unlink()
                return await running

            assert asyncio.run(restart())["state"] == "finished"
        assert epochs(opened) == [1, 2]
        assert len(refreshed(opened).trials) == TRIALS

    def test_a_driver_that_is_lost_again_and_again_is_given_up(
        self, dask, opened, notes, monkeypatch
    ):
        monkeypatch.setattr(driver_trigger, "PAUSE", 0.0)
        monkeypatch.setattr(ends, "_LOSSES", 1)
        trigger = trigger_of(opened, learns(notes), dask)
        hold(notes, 0)

        async def take_back():
            running = asyncio.create_task(fired(trigger))
            with Cluster(ClusterAddress(dask), Request()) as other:
                while not running.done():
                    await asyncio.to_thread(other.cancel, [trigger.order.key])
                    await asyncio.sleep(0.1)
            return await running

        event = asyncio.run(take_back())
        (notes / "limit").unlink()
        assert event["state"] == "error"
        assert "was cancelled on the Dask cluster" in event["reason"]


class TestTimeout:
    def test_what_takes_too_long_is_ended_on_dask(self, dask, storage, notes):
        dag = dag_of(
            learns(notes), storage, "slow", execution_timeout=timedelta(hours=1), name="study"
        )
        operator = dag.get_task("tune")
        opened = OpenStudy.create(operator.template.study("study", "run", {}), storage)
        hold(notes, 5)
        context = {"run_id": "run", "params": {}, "ti": SimpleNamespace(try_number=1)}
        with Cluster(ClusterAddress(dask), Request()) as direct:
            direct.submit(DriverOrder(opened.url, operator.template.code()))
            until(lambda: steps(notes) >= 5)
            with pytest.raises(AirflowException, match="execution_timeout of 1:00:00"):
                operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context)
            (notes / "limit").unlink()
            until(lambda: refreshed(opened).halted == "interrupted")


class TestConnectionPool:
    def test_users_at_one_time_share_a_connection_that_is_kept_for_the_next(self):
        with cluster(1) as address:
            where = ClusterAddress(address)

            async def use():
                async with shared_cluster(where, Request()):
                    await asyncio.sleep(0.1)

            async def all_use():
                await asyncio.gather(*(use() for _ in range(20)))

            asyncio.run(all_use())
            asyncio.run(all_use())
            with Client(address, set_as_default=False) as client:
                clients = client.run_on_scheduler(_clients)
        assert sum("tuneflow" in name for name in clients) == 1

    def test_a_cluster_that_comes_back_is_awaited(self, tmp_path):
        with lasting_cluster(tmp_path, workers=1, threads=1) as dask:
            where = ClusterAddress(dask.address, timeout=1)
            dask.kill()

            async def come_back():
                with pytest.raises(ClusterError, match="no Dask scheduler answers"):
                    await use(0)
                waiting = asyncio.create_task(use(60))
                await asyncio.to_thread(dask.start)
                await waiting

            async def use(patience):
                async with shared_cluster(where, Request(), patience=patience):
                    pass

            asyncio.run(come_back())


def _clients(dask_scheduler):
    return list(dask_scheduler.clients)
