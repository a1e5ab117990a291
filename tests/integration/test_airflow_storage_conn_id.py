"""`storage_conn_id` in DAGs that run in this process: where its credentials go, and where not."""

from __future__ import annotations

import json
import os
import uuid

import pytest
from airflow.sdk import DAG

from tests.airflow_here import run, study_dag
from tests.airflow_studies import RATE
from tests.airflow_system import ROOT
from tests.lasting_cluster import lasting_cluster
from tests.servers import BUCKET, s3_env
from tuneflow import credentials
from tuneflow.airflow.storage_connection import provide_storage
from tuneflow.airflow.tune_operator import TuneOperator
from tuneflow.errors import StorageError
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("airflow_database", "bare")]

SECRET = "a-secret-that-nobody-may-see"
STUDY = {
    "space": RATE,
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "trials": 4,
    "storage_conn_id": "studies",
}
TRAIN = "tests.airflow_studies:is_trivial"


@pytest.fixture
def bare(meddling, monkeypatch):
    """An environment that says nothing of the storage, and a connection that says everything."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    connect(monkeypatch, "studies", meddling)
    yield
    for prefix in list(credentials._known._by_prefix):
        credentials.withdraw(prefix)


def connect(monkeypatch, name, meddling, **changes):
    fields = {
        "conn_type": "aws",
        "login": "OF-AIRFLOW",
        "password": SECRET,
        "extra": {"endpoint_url": meddling.endpoint, "region_name": "us-east-1"},
    }
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({**fields, **changes}))


@pytest.fixture
def url():
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def workers(meddling, tmp_path, monkeypatch):
    """A Dask cluster whose workers have a key of their own."""
    environment = {**s3_env(meddling.endpoint, "OF-WORKERS", "x"), "PYTHONPATH": str(ROOT)}
    with lasting_cluster(tmp_path, workers=1, threads=4, **environment) as dask:
        address = dask.address.replace("tcp://", "dask://")
        monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address)
        yield


@pytest.mark.usefixtures("workers")
class TestRuns:
    def test_of_one_task(self, meddling, url):
        with DAG(f"d{uuid.uuid4().hex}", schedule=None) as dag:
            TuneOperator(task_id="tune", train=TRAIN, storage=url, name="one", retries=0, **STUDY)
        self.check(run(dag), meddling, url)

    def test_of_stages(self, meddling, url):
        more = {"scheduler": SuccessiveHalving(max_resource=2, reduction_factor=2)}
        dag = study_dag(TRAIN, f"d{uuid.uuid4().hex}", url, name="one", **STUDY, **more)
        self.check(run(dag), meddling, url)

    def check(self, done, meddling, url):
        assert done.state == "success"
        assert set(meddling.keys) == {"OF-AIRFLOW", "OF-WORKERS"}
        assert SECRET not in str(done)
        assert not [name for name in os.environ if name == "AWS_ACCESS_KEY_ID"]
        stored = Store(url)
        texts = [data for data in stored.get_many(stored.list()) if data is not None]
        assert not any(SECRET.encode() in text for text in texts)
        notes = [value for (_, _, key), value in done.xcoms.items() if key == "study_connection"]
        assert set(notes) == {'"studies"'}


class TestConnections:
    def test_a_new_key_in_airflow_is_used_from_the_next_task_on(self, meddling, url, monkeypatch):
        store = Store(provide_storage("studies", url))
        store.put("a", b"1")
        connect(monkeypatch, "studies", meddling, login="A-NEW-KEY")
        provide_storage("studies", url)
        store.put("a", b"2")
        assert meddling.keys == ["OF-AIRFLOW", "A-NEW-KEY"]

    def test_one_that_there_is_not_is_one_clear_error(self, url):
        with pytest.raises(StorageError, match="no Airflow connection 'nowhere', which storage_co"):
            provide_storage("nowhere", url)

    @pytest.mark.parametrize(
        "changes", [{"conn_type": "wasb"}, {"extra": {"role_arn": "r", "assume_role_method": "x"}}]
    )
    def test_one_that_cannot_work_is_named_without_its_secrets(
        self, meddling, url, monkeypatch, changes
    ):
        connect(monkeypatch, "wrong", meddling, **changes)
        with pytest.raises(StorageError, match="the Airflow connection 'wrong': ") as caught:
            provide_storage("wrong", url)
        assert SECRET not in str(caught.value)

    def test_without_one_the_environment_counts(self, url):
        assert provide_storage(None, url) == url
        assert credentials.provided_for(url) is None
