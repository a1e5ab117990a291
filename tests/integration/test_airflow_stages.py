"""A study as a group of tasks, run by `dag.test()` on real Dask workers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import tuneflow
from tests import trainer
from tests.airflow_here import Done, run, study_dag
from tests.airflow_studies import STUDIES, is_trivial, learns, run_inline
from tests.clusters import cluster
from tests.end_to_end import computed, entries, outcomes
from tuneflow.airflow import segments_trigger

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database")]

RATE = {"rate": {"type": "float", "low": 0.1, "high": 0.9}}
PLAIN = {"space": RATE, "metric": "loss", "mode": "min", "searcher": "random"}
TRIAL = "tune.stage_0.trial"
SCHEDULE = "tune.stage_0.schedule"
SEARCH = "tune.stage_0.search"

FIND = """
import json, sys
from tests.airflow_here import run, study_dag

storage, settings = sys.argv[1:]
dag = study_dag("tests.airflow_studies:is_trivial", "light", storage, **json.loads(settings))
done = run(dag)
print(done.state, *({"dask", "distributed", "optuna", "pandas", "scipy"} & {*sys.modules}))
"""


@pytest.fixture(scope="module", autouse=True)
def _dask():
    with cluster(workers=2, threads=2) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address.replace("tcp://", "dask://"))
        # There is no scheduler here that could be too slow for it.
        patch.setattr(segments_trigger, "_SOONEST", 0.0)
        yield


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


@dataclass(frozen=True)
class Rungs:
    """A study of three rungs that was run twice."""

    folder: Path
    url: str
    first: Done
    second: Done


@pytest.fixture(scope="module")
def rungs(storages, _dask, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rungs")
    storage = storages.new_url(folder)
    dag = study_dag(learns(folder), "rungs", storage, **STUDIES["rungs"])
    return Rungs(folder, f"{storage}/rungs", run(dag), run(dag))


class TestRungs:
    def test_a_study_is_what_it_is_without_airflow(self, rungs, tmp_path):
        inline = run_inline("rungs", learns(tmp_path), tmp_path / "studies")
        assert entries(rungs.url) == entries(inline)

    def test_each_rung_is_a_stage_and_what_is_not_needed_is_skipped(self, rungs):
        states = rungs.first.states
        assert rungs.first.state == "success"
        counts = [len(states[f"tune.stage_{stage}.trial"]) for stage in range(3)]
        assert counts == [9, 3, 1]
        later = [states[f"tune.stage_3.{task}"] for task in ("search", "trial", "schedule")]
        assert later == [["skipped"]] * 3

    def test_labels_say_what_came_of_a_trial(self, rungs):
        labels = rungs.first.labels
        assert all(re.fullmatch(r"trial \d · rate 0\.\d+ · loss 0\.\d+", x) for x in labels[TRIAL])
        assert all(label.endswith(" · promoted") for label in labels["tune.stage_1.trial"])

    def test_schedule_says_who_goes_on_and_the_next_search_takes_them(self, rungs):
        items = rungs.first.returned("tune.stage_1.search")
        promoted = [trial for item in items for trial, _ in item["segments"]]
        assert rungs.first.returned(SCHEDULE)["promoted"] == promoted

    def test_the_best_is_that_of_the_study(self, rungs):
        best, result = rungs.first.returned("tune.best"), tuneflow.load(rungs.url)
        assert (best["trial"], best["value"]) == (result.best_trial.number, result.best_value)
        assert (best["study"], best["config"]) == (result.url, result.best_config)

    def test_a_second_run_computes_nothing_and_finds_the_same(self, rungs):
        assert rungs.second.state == "success"
        assert rungs.second.returned("tune.best") == rungs.first.returned("tune.best")
        assert {*computed(rungs.folder).values()} == {1}


class TestStudies:
    def test_existing_new_makes_another_study(self, storage, folder):
        dag = study_dag(failing((), folder), "anew", storage, trials=2, existing="new", **PLAIN)
        first, second = run(dag).returned("tune.best"), run(dag).returned("tune.best")
        assert first["study"] != second["study"]
        assert begun(folder) == [0, 0, 1, 1]
        assert run(dag, existing="resume").returned("tune.best")["study"].endswith("/anew")

    def test_params_change_the_study_of_a_run(self, storage, folder):
        dag = study_dag(failing((), folder), "changed", storage, trials=2, **PLAIN)
        space = {"rate": {"type": "float", "low": 0.5, "high": 0.6}}
        best = run(dag, trials=4, space=space, budget={"total_resource": 100}).returned("tune.best")
        study = tuneflow.load(best["study"]).study
        assert study.trials == 4
        assert study.budget.total_resource == 100
        assert 0.5 <= best["config"]["rate"] <= 0.6

    def test_trials_may_share_a_task(self, storage, folder):
        dag = study_dag(
            failing((), folder), "shared", storage, trials=5, trials_per_task=2, **PLAIN
        )
        done = run(dag)
        assert done.state == "success"
        assert [label.split(" · ")[0] for label in done.labels[TRIAL]] == [
            "trials 0-1",
            "trials 2-3",
            "trial 4",
        ]
        assert begun(folder) == [0, 1, 2, 3, 4]

    def test_a_study_that_needs_more_stages_is_refused_before_any_trial(self, storage, folder):
        dag = study_dag(
            failing((), folder), "longer", storage, trials=4, round_size=2, stages=2, **PLAIN
        )
        done = run(dag, trials=40)
        assert done.states[SEARCH] == ["failed"]
        assert done.state == "failed"
        assert not (folder / "begun").exists()

    def test_what_has_run_is_found_without_dask_and_optuna(self, storage):
        settings = {**PLAIN, "trials": 2}
        tuneflow.tune(is_trivial, name="light", storage=storage, round_size="all", **settings)
        command = [sys.executable, "-c", FIND, storage, json.dumps(settings)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        state, *heavy = done.stdout.splitlines()[-1].split()
        assert state == "success"
        assert heavy == []


class TestFailures:
    def test_a_failed_trial_is_red_and_the_study_goes_on(self, storage, folder, capfd):
        dag = study_dag(failing((1,), folder), "red", storage, trials=3, **PLAIN)
        done = run(dag)
        assert done.state == "success"
        assert done.states[TRIAL] == ["success", "failed", "success"]
        assert done.labels[TRIAL][1].endswith(" · failed")
        assert done.returned(SCHEDULE)["failed"] == [1]
        said = "".join(capfd.readouterr())
        assert "trial 1 failed: ValueError: this cannot be learned" in said
        assert "a rate of 0." in said

    def test_retry_failed_tries_them_again_in_a_new_run(self, storage, folder):
        dag = study_dag(failing((1,), folder), "again", storage, trials=3, **PLAIN)
        run(dag)
        (folder / "mended").touch()
        done = run(dag, retry_failed=True)
        assert done.state == "success"
        assert begun(folder) == [0, 1, 1, 2]
        assert tuneflow.load(f"{storage}/again").failed == []

    def test_when_all_trials_fail_nothing_is_taken_in(self, storage, folder, capfd):
        dag = study_dag(failing(range(3), folder), "hopeless", storage, trials=3, **PLAIN)
        done = run(dag)
        assert done.states[SCHEDULE] == ["failed"]
        assert done.state == "failed"
        assert "all 3 trials of this stage failed, trial" in "".join(capfd.readouterr())
        assert len(entries(f"{storage}/hopeless")) == 1
        (folder / "mended").touch()
        assert run(dag).state == "success"
        assert begun(folder) == [0, 0, 1, 1, 2, 2]

    def test_a_cluster_that_is_away_is_said_in_one_sentence(self, storage, monkeypatch, capfd):
        monkeypatch.setenv("AIRFLOW_CONN_AWAY", "dask://127.0.0.1:9?timeout=1")
        dag = study_dag(lambda config: 1.0, "away", storage, trials=2, conn_id="away", **PLAIN)
        done = run(dag)
        assert done.states[SEARCH] == ["failed"]
        assert done.state == "failed"
        assert "no Dask scheduler answers at tcp://127.0.0.1:9" in "".join(capfd.readouterr())

    def test_a_connection_that_is_missing_is_said_in_one_sentence(self, storage, capfd):
        dag = study_dag(
            lambda config: 1.0, "missing", storage, trials=2, conn_id="nowhere", **PLAIN
        )
        assert run(dag).states[SEARCH] == ["failed"]
        assert "there is no Airflow connection 'nowhere'" in "".join(capfd.readouterr())

    def test_what_workers_lack_leaves_no_outcome(self, storage, capfd):
        dag = study_dag("not_there.module:train", "lacking", storage, trials=2, **PLAIN)
        done = run(dag)
        assert done.states[TRIAL] == ["failed", "failed"]
        assert done.states[SCHEDULE] == ["failed"]
        said = "".join(capfd.readouterr())
        assert "has no module 'not_there'; install it there" in said
        assert "none of the 2 trials of this stage has an outcome" in said
        assert outcomes(f"{storage}/lacking") == {}
