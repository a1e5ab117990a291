"""The DAGs in dags/ work as they stand there, on a real Dask cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

import tuneflow
from tests.airflow_here import run
from tests.clusters import cluster
from tuneflow.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("airflow_database"),
]

DAGS = Path(__file__).parents[2] / "dags"
NAMES = {
    "tune_digits_hyperband",
    "tune_digits_asha",
    "deploy_digits",
    "tune_pbt",
    "tune_command",
    "retune_weekly",
    "watch_digits",
    "deploy_champion",
}
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
heavy = {"dask", "distributed", "optuna", "sklearn", "joblib", "numpy"} & {*sys.modules}
print(json.dumps({"errors": bag.import_errors, "dags": [*bag.dags], "heavy": [*heavy]}))
"""


@pytest.fixture(scope="module")
def dags(storages, tmp_path_factory):
    """The DAGs by name, with a cluster and a storage."""
    with pytest.MonkeyPatch.context() as patch, cluster(workers=2) as address:
        storage = storages.new_url(tmp_path_factory.mktemp("studies"))
        patch.setenv("TUNEFLOW_STORAGE", storage)
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("models")))
        patch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address.replace("tcp://", "dask://"))
        yield DagBag(DAGS).dags


def test_they_are_parsed_without_dask_optuna_or_training_libraries():
    command = [sys.executable, "-c", PARSE, DAGS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert {*found["dags"]} == NAMES
    assert found["heavy"] == []


def test_the_pipeline_hands_its_winner_to_the_task_after_it(dags):
    done = run(dags["tune_digits_hyperband"], trials=5)
    assert done.state == "success"
    best = done.returned("tune.best")
    result = tuneflow.load(best["study"])
    assert len(result.trials) == 5
    assert done.returned("check") == best["config"] == result.best_config
    assert (result.checkpoint() / "network.joblib").exists()


def test_the_event_of_the_operator_leads_to_the_model_that_won(dags):
    tuned = run(dags["tune_digits_asha"], trials=4)
    assert tuned.state == "success"
    assert len(tuneflow.load(tuned.returned("tune")["study"]).trials) == 4
    deployed = run(dags["deploy_digits"])
    assert deployed.state == "success"
    assert (Path(deployed.returned("fetch")) / "network.joblib").exists()


def test_a_population_exploits_its_best_and_a_second_run_repeats_nothing(dags):
    done = run(dags["tune_pbt"])
    assert done.state == "success"
    trials = [labels for task, labels in done.labels.items() if task.endswith(".trial")]
    stages = [labels for labels in trials if labels != [None]]
    assert [len(labels) for labels in stages] == [6, 6, 6, 6]
    assert all(any("cloned from trial" in one for one in labels) for labels in stages[1:])
    again = run(dags["tune_pbt"])
    assert again.state == "success"
    (best,) = [task for task in done.states if task.endswith(".best")]
    assert again.returned(best) == done.returned(best)


def test_a_retune_every_week_ends_with_a_model_that_can_be_fetched(dags):
    first = run(dags["retune_weekly"], MONDAY)
    assert first.state == "success"
    champion = first.returned("retune.judge")["champion"]
    assert champion["data_version"] == champion["config"]["day"] == "2026-11-23"
    assert len(champion["values"]) == 5
    assert first.states["congratulate"] == ["success"]
    second = run(dags["retune_weekly"], MONDAY + timedelta(weeks=1))
    assert second.state == "success"
    verdict = second.returned("retune.judge")
    assert verdict["champion"]["data_version"] == "2026-11-30"
    news = ["success"] if verdict["promoted"] else ["skipped"]
    assert second.states["retune.announce"] == second.states["congratulate"] == news
    deployed = run(dags["deploy_champion"])
    assert deployed.state == "success"
    assert (Path(deployed.returned("fetch")) / "network.joblib").exists()


def test_a_model_that_has_got_worse_is_noticed(dags, monkeypatch):
    monkeypatch.setattr(dags["watch_digits"].get_task("look"), "pause", timedelta(0))
    monitoring = Store(f"{os.environ['TUNEFLOW_STORAGE']}/monitoring")
    monitoring.put("digits.jsonl", b'{"accuracy": 0.95}\n')
    assert run(dags["watch_digits"]).states == {"look": ["skipped"]}
    monitoring.put("digits.jsonl", b'{"accuracy": 0.95}\n{"accuracy": 0.85}\n')
    assert run(dags["watch_digits"]).states == {"look": ["success"]}


def test_trials_in_awk_go_on_from_their_checkpoints(dags):
    done = run(dags["tune_command"])
    assert done.state == "success"
    assert [len(done.states[f"tune.stage_{stage}.trial"]) for stage in range(3)] == [9, 3, 1]
    best = tuneflow.load(done.returned("tune.best")["study"]).best_trial
    assert [report.resource for report in best.reports] == list(range(1, 28))
    losses = [report.metrics["loss"] for report in best.reports]
    assert losses == sorted(losses, reverse=True)
