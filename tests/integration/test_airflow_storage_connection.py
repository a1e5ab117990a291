"""Studies at a storage for which Airflow has a connection and nothing else, in a whole Airflow."""

from __future__ import annotations

import secrets
import uuid

import pytest

import tuneflow
from tests.airflow_system import ROOT
from tests.lasting_cluster import lasting_cluster
from tests.meddling import Meddling
from tests.servers import BUCKET, moto, s3_env

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

OF_AIRFLOW = "the-key-of-airflow"
OF_WORKERS = "the-key-of-the-workers"


@pytest.fixture(scope="module")
def proxy():
    """What sees the keys that the storage is asked with."""
    with moto() as server:
        made = Meddling(server.endpoint.removeprefix("http://"))
        yield made
        made.end()


@pytest.fixture(scope="module")
def secret():
    return secrets.token_hex(20)


@pytest.fixture(scope="module")
def connected(airflow_system, proxy, secret, tmp_path_factory):
    """Airflow with a connection to the storage, and a cluster whose workers have their own key."""
    system = airflow_system.airflow
    extra = f'{{"endpoint_url": "{proxy.endpoint}", "region_name": "us-east-1"}}'
    system.add_connection(
        "storage_elsewhere", conn_type="aws", login=OF_AIRFLOW, password=secret, extra=extra
    )
    folder = tmp_path_factory.mktemp("dask")
    environment = s3_env(proxy.endpoint, OF_WORKERS, "x")
    with lasting_cluster(folder, workers=1, threads=4, PYTHONPATH=str(ROOT), **environment) as dask:
        system.add_connection("dask_elsewhere", conn_type="dask", host="127.0.0.1", port=dask.port)
        yield airflow_system


@pytest.mark.parametrize("dag", ["connected_whole", "connected_stages", "connected_retune"])
def test_tasks_triggers_and_the_report_use_the_connection_and_workers_their_own(
    connected, proxy, secret, monkeypatch, dag
):
    storage = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    proxy.seen.clear()
    run = connected.complete(dag, storage=storage)
    assert set(proxy.keys) == {OF_AIRFLOW, OF_WORKERS}
    report = connected.airflow._client.get(f"{connected.airflow.url}/tuneflow/report/{dag}/{run}")
    assert "tuneflow study" in report.text or "several studies" in report.text
    assert secret not in said_by(connected.airflow, dag, run)
    for name, value in s3_env(f"http://{proxy.upstream}").items():
        monkeypatch.setenv(name, value)
    if dag != "connected_retune":
        assert len(tuneflow.load(f"{storage}/{dag}").trials) == 4


def said_by(system, dag, run):
    """Return all that Airflow's API, its logs and its processes say of a run."""
    said = [str(system.summary(dag, run))]
    for task in system.tasks(dag, run):
        where = (dag, run, task["task_id"])
        index = task["map_index"]
        said.append(str(task))
        if task["start_date"] is not None and task["state"] != "skipped":
            said.append(str(system.task_log(*where, max(task["try_number"], 1), index)))
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/{task['task_id']}/xcomEntries"
        for entry in system.all(path, "xcom_entries"):
            said.append(str(entry))
            if entry["map_index"] == index:
                said.append(str(system.xcom(*where, entry["key"], index)))
    return "\n".join([*said, *(system.log(name) for name in system.processes)])
