"""A retune in a whole Airflow: set off by new data, mended when it fails, and heard of."""

from __future__ import annotations

import pytest

from tests.clusters import until
from tuneflow.retune.line import Line

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

SOON = 240.0
"""Seconds after which something that takes a few has not happened."""

TRIAL = "retune.search.stage_0.trial"


def update(airflow, name):
    """Send an event of an asset, as whoever brings new data does."""
    (asset,) = airflow.all("/assets", "assets", name_pattern=name)
    airflow.call("POST", "/assets/events", json={"asset_id": asset["id"], "extra": {}})


def begun(airflow, dag_id):
    """Wait for the only run of a DAG; return its id."""
    (run,) = until(lambda: airflow.all(f"/dags/{dag_id}/dagRuns", "dag_runs"), SOON, 0.5)
    return run["dag_run_id"]


def test_new_data_set_off_a_retune_and_only_its_new_champion_sets_off_a_deployment(airflow_system):
    airflow, folder = airflow_system.airflow, airflow_system.notes("retuned")
    line = airflow_system.url("retuned")
    for dag_id in ("retuned", "deployed"):
        airflow_system.ready(dag_id)
    update(airflow, "data")
    run_id = begun(airflow, "retuned")

    airflow.await_run("retuned", run_id, state="failed")
    states = airflow.states("retuned", run_id)
    assert states[TRIAL] == ["failed"], "the file with the data is not there yet"
    assert states["retune.judge"] == "failed"
    assert [record.type for record in Line.open(line).log.records] == ["began", "failed"]
    assert airflow.all("/dags/deployed/dagRuns", "dag_runs") == []

    (folder / "best").write_text("c")
    airflow.clear("retuned", run_id, TRIAL, include_downstream=True)
    airflow.await_run("retuned", run_id)
    verdict = airflow.xcom("retuned", run_id, "retune.judge")
    assert (verdict["promoted"], verdict["retune"]) == (True, 1)
    assert verdict["champion"]["config"]["option"] == "c"
    began, failed, promoted = Line.open(line).log.records
    assert (began.data["run"], began.data["trigger"]) == (run_id, "asset")
    assert (failed.type, promoted.type) == ("failed", "promoted")

    deployed = begun(airflow, "deployed")
    airflow.await_run("deployed", deployed)
    assert airflow.xcom("deployed", deployed, "deploy") == verdict
