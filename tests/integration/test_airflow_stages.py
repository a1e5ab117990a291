"""A study as a group of tasks, run by `dag.test()` on real Dask workers."""

from __future__ import annotations

import sys

import pytest

import tuneflow
from tests import trainer
from tests.airflow_here import run, study_dag
from tests.airflow_studies import STUDIES, learns, run_inline
from tests.clusters import cluster
from tests.end_to_end import computed, entries

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database")]

RATE = {"rate": {"type": "float", "low": 0.1, "high": 0.9}}
PLAIN = {"space": RATE, "metric": "loss", "mode": "min", "searcher": "random"}
TRIAL = "tune.stage_0.trial"
SCHEDULE = "tune.stage_0.schedule"
SEARCH = "tune.stage_0.search"


@pytest.fixture(scope="module")
def dask():
    """The address of a cluster."""
    with cluster(workers=2, threads=2) as address:
        yield address


@pytest.fixture(autouse=True)
def _connection(dask, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", dask.replace("tcp://", "dask://"))


@pytest.fixture
def folder(tmp_path):
    """Where trials take notes."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def failing(numbers, folder):
    """Return an objective that fails for some trials while there is no file "mended"."""

    def train(config):
        trainer.note(folder / "begun", tuneflow.current_trial().number)
        sys.stdout.write(f"a rate of {config['rate']:.2f}\n")
        if tuneflow.current_trial().number in numbers and not (folder / "mended").exists():
            raise ValueError("this cannot be learned")
        return config["rate"]

    return train


def begun(folder):
    return sorted(int(line) for line in (folder / "begun").read_text().split())


class TestStages:
    def test_a_study_is_what_it_is_without_airflow(self, tmp_path, folder):
        done = run(
            study_dag(learns(folder), "halving", tmp_path / "s", name="rungs", **STUDIES["rungs"])
        )
        (tmp_path / "inline").mkdir()
        inline = run_inline("rungs", learns(tmp_path / "inline"), tmp_path / "i")
        assert done.state == "success"
        assert entries(tmp_path / "s" / "rungs") == entries(inline.removeprefix("file://"))
        assert {*computed(folder).values()} == {1}

    def test_it_shows_each_rung_and_skips_what_is_not_needed(self, tmp_path, folder):
        done = run(study_dag(learns(folder), "shown", tmp_path, **STUDIES["rungs"]))
        counts = [len(done.states[f"tune.stage_{stage}.trial"]) for stage in range(3)]
        assert counts == [9, 3, 1]
        assert {*done.states["tune.stage_3.search"], *done.states["tune.stage_4.schedule"]} == {
            "skipped"
        }
        assert all(label.startswith("trial ") for label in done.labels[TRIAL])
        assert all(label.endswith(" · promoted") for label in done.labels["tune.stage_1.trial"])
        best = done.returned("tune.best")
        result = tuneflow.load(best["study"])
        assert (best["trial"], best["value"]) == (result.best_trial.number, result.best_value)
        assert best["config"] == result.best_config
        assert done.returned("tune.stage_0.schedule")["promoted"] == [
            segment[0]
            for item in done.returned("tune.stage_1.search")
            for segment in item["segments"]
        ]

    def test_a_second_run_computes_nothing_and_finds_the_same(self, tmp_path, folder):
        dag = study_dag(learns(folder), "twice", tmp_path, **STUDIES["rungs"])
        first, second = run(dag), run(dag)
        assert first.returned("tune.best") == second.returned("tune.best")
        assert second.state == "success"
        assert {*computed(folder).values()} == {1}

    def test_existing_new_makes_another_study(self, tmp_path, folder):
        dag = study_dag(failing((), folder), "anew", tmp_path, trials=2, existing="new", **PLAIN)
        first, second = run(dag).returned("tune.best"), run(dag).returned("tune.best")
        assert first["study"] != second["study"]
        assert begun(folder) == [0, 0, 1, 1]
        assert run(dag, existing="resume").returned("tune.best")["study"].endswith("/anew")

    def test_params_change_the_study_of_a_run(self, tmp_path, folder):
        dag = study_dag(failing((), folder), "changed", tmp_path, trials=2, **PLAIN)
        space = {"rate": {"type": "float", "low": 0.5, "high": 0.6}}
        best = run(dag, trials=4, space=space, budget={"total_resource": 100}).returned("tune.best")
        study = tuneflow.load(best["study"]).study
        assert study.trials == 4
        assert study.budget.total_resource == 100
        assert 0.5 <= best["config"]["rate"] <= 0.6

    def test_trials_may_share_a_task(self, tmp_path, folder):
        dag = study_dag(
            failing((), folder), "shared", tmp_path, trials=5, trials_per_task=2, **PLAIN
        )
        done = run(dag)
        assert done.state == "success"
        assert [label.split(" · ")[0] for label in done.labels[TRIAL]] == [
            "trials 0-1",
            "trials 2-3",
            "trial 4",
        ]
        assert begun(folder) == [0, 1, 2, 3, 4]

    def test_what_goes_through_airflow_is_small(self, tmp_path):
        space = {f"parameter_{n}": {"type": "float", "low": 0.0, "high": 1.0} for n in range(10)}
        settings = {**PLAIN, "space": space, "trials": 100}
        done = run(study_dag(lambda config: {"loss": 0.5}, "small", tmp_path, **settings))
        assert done.state == "success"
        assert max(map(len, done.xcoms.values())) < 48_000

    def test_a_study_that_needs_more_stages_is_refused_before_any_trial(self, tmp_path, folder):
        dag = study_dag(
            failing((), folder), "longer", tmp_path, trials=4, round_size=2, stages=2, **PLAIN
        )
        done = run(dag, trials=40)
        assert done.states[SEARCH] == ["failed"]
        assert not (folder / "begun").exists()


class TestFailures:
    def test_a_failed_trial_is_red_and_the_study_goes_on(self, tmp_path, folder, capfd):
        dag = study_dag(failing((1,), folder), "red", tmp_path, trials=3, **PLAIN)
        done = run(dag)
        assert done.state == "success"
        assert done.states[TRIAL] == ["success", "failed", "success"]
        assert done.labels[TRIAL][1].endswith(" · failed")
        assert done.returned(SCHEDULE)["failed"] == [1]
        said = "".join(capfd.readouterr())
        assert "trial 1 failed: ValueError: this cannot be learned" in said
        assert "a rate of 0." in said

    def test_retry_failed_tries_them_again_in_a_new_run(self, tmp_path, folder):
        dag = study_dag(failing((1,), folder), "again", tmp_path, trials=3, **PLAIN)
        run(dag)
        (folder / "mended").touch()
        done = run(dag, retry_failed=True)
        assert done.state == "success"
        assert begun(folder) == [0, 1, 1, 2]
        assert tuneflow.load(tmp_path / "again").failed == []

    def test_when_all_trials_fail_nothing_is_taken_in(self, tmp_path, folder, capfd):
        dag = study_dag(failing(range(3), folder), "hopeless", tmp_path, trials=3, **PLAIN)
        done = run(dag)
        assert done.states[SCHEDULE] == ["failed"]
        assert done.state == "failed"
        assert "all 3 trials of this stage failed, trial" in "".join(capfd.readouterr())
        assert len(entries(tmp_path / "hopeless")) == 1

    def test_a_cluster_that_is_away_is_said_in_one_sentence(self, tmp_path, monkeypatch, capfd):
        monkeypatch.setenv("AIRFLOW_CONN_AWAY", "dask://127.0.0.1:9?timeout=1")
        dag = study_dag(lambda config: 1.0, "away", tmp_path, trials=2, conn_id="away", **PLAIN)
        assert run(dag).states[SEARCH] == ["failed"]
        assert "no Dask scheduler answers at tcp://127.0.0.1:9" in "".join(capfd.readouterr())

    def test_a_connection_that_is_missing_is_said_in_one_sentence(self, tmp_path, capfd):
        dag = study_dag(
            lambda config: 1.0, "missing", tmp_path, trials=2, conn_id="nowhere", **PLAIN
        )
        assert run(dag).states[SEARCH] == ["failed"]
        assert "there is no Airflow connection 'nowhere'" in "".join(capfd.readouterr())

    def test_what_workers_lack_leaves_no_outcome(self, tmp_path, capfd):
        dag = study_dag("not_there.module:train", "lacking", tmp_path, trials=2, **PLAIN)
        done = run(dag)
        assert done.states[TRIAL] == ["failed", "failed"]
        assert done.states[SCHEDULE] == ["failed"]
        said = "".join(capfd.readouterr())
        assert "has no module 'not_there'; install it there" in said
        assert "none of the 2 trials of this stage has an outcome" in said
        assert list((tmp_path / "lacking").glob("trials/*/segments/*")) == []
