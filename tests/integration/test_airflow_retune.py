"""Retunes as DAGs, run by `dag.test()` on real Dask workers."""

from __future__ import annotations

import signal
from collections import Counter
from datetime import UTC, datetime

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.sdk import DAG, Asset
from airflow.utils.session import create_session
from sqlalchemy import select

import tuneflow
from tests.airflow_here import run
from tests.airflow_studies import RETUNE, chooses
from tests.clusters import cluster
from tests.end_to_end import notes
from tuneflow.airflow import retune_task_group, segments_trigger
from tuneflow.retune.line import Line
from tuneflow.retune.local import retune

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database")]

STUDIES = ("champion", "search", "challenger")


@pytest.fixture(scope="module", autouse=True)
def _dask():
    with cluster(workers=2, threads=2) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address.replace("tcp://", "dask://"))
        # There is no scheduler here that could be too slow for it.
        patch.setattr(segments_trigger, "_SOONEST", 0.0)
        yield


class Data:
    """The data of the day: the file "best" says which option is the best.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder):
        self.folder = folder

    def come(self, best):
        """Let data come in."""
        (self.folder / "best").write_text(best)

    def vanish(self):
        (self.folder / "best").unlink()

    @property
    def trained(self):
        """How often each option has been trained with each seed."""
        return Counter(map(tuple, notes(self.folder, "trained")))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return Data(tmp_path / "data")


def overtaken(train, line):
    """Return an objective that has another retune begin while the second one is under way."""

    def overtaking(config):
        log = Line.open(line).log
        if log.newest_retune > 1:
            log.begin(run="another")
        return train(config)

    return overtaking


def refusing(train, file):
    """Return an objective that fails with the option that a file names."""

    def particular(config):
        if file.exists() and file.read_text() == config["option"]:
            raise ValueError("not with the data of today")
        return train(config)

    return particular


def interrupted(train):
    """Return an objective that stands for a user who interrupts a search."""
    champion = "a"

    def impatient(config):
        if config["option"] != champion:
            signal.raise_signal(signal.SIGINT)
        return train(config)

    impatient.__name__ = train.__name__
    return impatient


def retuning(data, storage, train=None, **settings):
    """Return a DAG that is a retune and nothing else."""
    with DAG("weekly", schedule=None) as dag:
        more = {"storage": str(storage), "retries": 0, **RETUNE, **settings}
        retune_task_group(train or chooses(data.folder), **more)
    return dag


def steps(done):
    """Return the states of the steps of a retune that were run, or not."""
    return {
        one.removeprefix("retune."): s[0] for one, s in done.states.items() if one.count(".") == 1
    }


def trials(done):
    """Return the states of the trials of each of the studies."""
    return {study: done.states[f"retune.{study}.stage_0.trial"] for study in STUDIES}


def log(storage):
    """Return the types of the records of the line."""
    return [record.type for record in Line.open(f"{storage}/weekly").log.records]


def events(uri):
    """Return the extras of the events of an asset, the oldest first."""
    wanted = (
        select(AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetModel.name == uri)
        .order_by(AssetEvent.id)
    )
    with create_session() as session:
        return list(session.scalars(wanted))


DONE = dict.fromkeys(("begin", "prepare", "challenge", "judge", "announce"), "success")


class TestRetunes:
    def test_a_champion_is_found_is_kept_and_is_replaced_as_the_data_say(self, storage, data):
        dag = retuning(data, storage, outlets=[Asset("found")])
        data.come("b")
        first = run(dag)
        assert first.state == "success"
        assert trials(first) == {
            "champion": ["skipped"],
            "search": ["success"] * 3,
            "challenger": ["success"] * 3,
        }
        verdict = first.returned("retune.judge")
        assert (verdict["promoted"], verdict["retune"]) == (True, 1)
        assert verdict["champion"]["config"]["option"] == "b"
        assert first.returned("retune.announce") == verdict
        assert events("found") == [verdict]

        second = run(dag)
        assert second.state == "success"
        assert trials(second)["champion"] == ["success"] * 3
        assert trials(second)["challenger"] == ["skipped"]
        kept = second.returned("retune.judge")
        assert not kept["promoted"]
        assert kept["champion"]["config"] == verdict["champion"]["config"]
        assert steps(second) == {**DONE, "announce": "skipped"}
        assert events("found") == [verdict], "there is no news"

        data.come("c")
        third = run(dag)
        changed = third.returned("retune.judge")
        assert (changed["promoted"], changed["champion"]["config"]["option"]) == (True, "c")
        assert "paired t-test, 3 seeds" in changed["reason"]
        assert steps(third) == DONE
        assert events("found") == [verdict, changed]
        assert log(storage) == ["began", "promoted", "began", "kept", "began", "promoted"]

    def test_a_study_that_was_tuned_before_gives_the_first_champion(self, storage, data):
        data.come("a")
        space = {"option": RETUNE["space"]["option"], "seed": 0, "day": "then"}
        more = {"metric": "loss", "mode": "min", "searcher": "grid", "progress": False}
        tuneflow.tune(chooses(data.folder), space=space, name="weekly", storage=storage, **more)
        data.come("c")
        done = run(retuning(data, storage))
        assert trials(done)["champion"] == ["success"] * 3
        assert done.returned("retune.judge")["champion"]["config"]["option"] == "c"
        champion = Line.open(f"{storage}/weekly").log.records[0].champion
        assert (champion.config["option"], champion.retune) == ("a", 0)

    def test_the_day_of_the_run_is_in_the_configuration_and_in_the_records(self, storage, data):
        data.come("a")
        done = run(retuning(data, storage))
        day = datetime.now(UTC).date().isoformat()
        champion = done.returned("retune.judge")["champion"]
        assert (champion["config"]["day"], champion["data_version"]) == (day, day)

    def test_params_change_the_search_of_a_run_and_name_its_data(self, storage, data):
        data.come("a")
        dag = retuning(data, storage, searcher="random", trials=9)
        space = {"option": {"type": "categorical", "choices": ["b", "c"]}}
        done = run(dag, trials=2, space=space, data_version="v7", budget={"total_resource": 50})
        assert len(trials(done)["search"]) == 2
        study = tuneflow.load(done.returned("retune.prepare")).study
        assert study.budget.total_resource == 50
        verdict = done.returned("retune.judge")
        assert verdict["champion"]["config"]["option"] in ("b", "c")
        assert verdict["champion"]["data_version"] == "v7"

    def test_a_run_that_is_repeated_after_its_verdict_trains_nothing(self, storage, data):
        data.come("a")
        dag, day = retuning(data, storage), datetime(2026, 3, 1, tzinfo=UTC)
        first = run(dag, day)
        before = data.trained
        again = run(dag, day)
        assert again.state == "success"
        assert again.returned("retune.judge") == first.returned("retune.judge")
        assert data.trained == before
        assert log(storage) == ["began", "promoted"]


class TestFailures:
    def test_a_retune_whose_trials_all_fail_is_red_and_leaves_the_champion(self, storage, data):
        dag = retuning(data, storage)
        data.come("b")
        run(dag)
        data.vanish()
        done, schedule = run(dag), "retune.champion.stage_0.schedule"
        assert done.state == "failed"
        assert trials(done)["champion"] == ["failed"] * 3
        assert steps(done) == {
            "begin": "success",
            "prepare": "upstream_failed",
            "challenge": "upstream_failed",
            "judge": "failed",
            "announce": "upstream_failed",
        }
        red = {task for task, states in done.states.items() if "failed" in states}
        assert red == {"retune.champion.stage_0.trial", schedule, "retune.judge"}
        line = Line.open(f"{storage}/weekly")
        assert line.log.champion.config["option"] == "b"
        record = line.log.records[-1]
        assert record.type == "failed"
        assert record.data["reason"].startswith(
            f"{schedule} has failed: all 3 trials of this stage failed, trial 0 with"
        )

    def test_a_champion_that_fails_with_every_seed_gives_way_where_that_is_wanted(
        self, storage, data
    ):
        data.come("b")
        train = refusing(chooses(data.folder), data.folder / "refused")
        dag = retuning(data, storage, train, replace_unmeasured=True)
        run(dag)
        (data.folder / "refused").write_text("b")
        done = run(dag)
        assert trials(done)["champion"] == ["failed"] * 3
        assert done.state == "success"
        verdict = done.returned("retune.judge")
        assert verdict["promoted"]
        assert verdict["champion"]["config"]["option"] != "b"

    def test_the_next_run_is_not_held_up_by_one_that_failed(self, storage, data):
        dag = retuning(data, storage)
        assert run(dag).state == "failed"
        data.come("b")
        assert run(dag).returned("retune.judge")["champion"]["config"]["option"] == "b"
        assert log(storage) == ["began", "failed", "began", "promoted"]

    def test_a_history_of_another_metric_is_refused_before_any_trial(self, storage, data, capfd):
        data.come("a")
        run(retuning(data, storage))
        before = data.trained
        done = run(retuning(data, storage, metric="error"))
        assert done.states["retune.begin"] == ["failed"]
        assert done.state == "failed"
        assert "metric: 'error' is not 'loss'" in "".join(capfd.readouterr())
        assert data.trained == before
        assert log(storage) == ["began", "promoted"]

    def test_a_space_that_shares_no_parameter_is_refused_before_any_trial(
        self, storage, data, capfd
    ):
        data.come("a")
        run(retuning(data, storage))
        other = {"choice": {"type": "categorical", "choices": ["a", "b"]}}
        done = run(retuning(data, storage, space=other))
        assert done.states["retune.begin"] == ["failed"]
        assert "shares no parameter with the past" in "".join(capfd.readouterr())
        assert log(storage) == ["began", "promoted"]

    def test_more_trials_than_the_dag_has_stages_for_are_refused_before_it_begins(
        self, storage, data, capfd
    ):
        dag = retuning(data, storage, searcher="random", trials=2, round_size=1)
        done = run(dag, trials=50)
        assert done.states["retune.begin"] == ["failed"]
        assert "the study can need up to 50 stages and the DAG has 4" in "".join(capfd.readouterr())
        assert log(storage) == []


class TestOthers:
    """A run, and what somebody else does on the same line."""

    def test_a_newer_retune_overtakes_a_run_which_then_leaves_the_champion(
        self, storage, data, capfd
    ):
        data.come("a")
        line = f"{storage}/weekly"
        dag = retuning(data, storage, overtaken(chooses(data.folder), line))
        assert run(dag).state == "success"
        data.come("b")
        done = run(dag)
        assert done.state == "failed"
        assert steps(done)["prepare"] == steps(done)["judge"] == "failed"
        assert "was overtaken by retune 3 (run another)" in "".join(capfd.readouterr())
        assert log(storage) == ["began", "promoted", "began", "began"]
        assert Line.open(line).log.champion.config["option"] == "a"

    def test_a_run_goes_on_with_a_retune_that_was_begun_without_airflow(self, storage, data):
        data.come("a")
        day = datetime(2026, 3, 1, tzinfo=UTC)
        space = {**RETUNE["space"], "day": "today"}
        dag = retuning(data, storage, space=space)
        run(dag)
        settings = {**RETUNE, "space": space, "round_size": "all", "progress": False}
        with pytest.raises(KeyboardInterrupt):
            retune(
                interrupted(chooses(data.folder)),
                name="weekly",
                storage=storage,
                run=f"manual__{day.isoformat()}",
                **settings,
            )
        champion = Line.open(f"{storage}/weekly").retune(2).study("champion")
        seeds = [str(trial.params["seed"]) for trial in champion.history.trials]
        done = run(dag, day)
        assert done.state == "success"
        assert done.returned("retune.judge")["retune"] == 2
        assert log(storage) == ["began", "promoted", "began", "kept"]
        assert [data.trained["a", seed] for seed in seeds] == [1, 1, 1]
