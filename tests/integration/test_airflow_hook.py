"""The Airflow connection of a Dask cluster, with real schedulers and workers."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import Connection
from distributed import Security

from tests.clusters import await_workers, cluster, scheduler, worker
from tuneflow.airflow import DaskHook
from tuneflow.errors import ClusterError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def dask():
    """The address of a cluster."""
    with cluster(workers=2, threads=3) as address:
        yield address


def connection(address, **extra):
    """Return a connection to a scheduler, as Airflow has it when a user tests it in a form."""
    host, _, port = address.partition("://")[2].rpartition(":")
    return Connection(
        conn_id="tried", conn_type="dask", host=host, port=int(port), extra=json.dumps(extra)
    )


class TestAddress:
    def test_it_is_that_of_the_connection_whose_uri_is_in_the_environment(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", "dask://10.0.0.5:8786?timeout=2.5")
        address = DaskHook().address()
        assert address.address == "tcp://10.0.0.5:8786"
        assert address.timeout == 2.5

    def test_a_connection_can_be_json_in_the_environment(self, monkeypatch):
        data = {"conn_type": "dask", "host": "::1", "extra": {"protocol": "ws"}}
        monkeypatch.setenv("AIRFLOW_CONN_GPUS", json.dumps(data))
        assert DaskHook("gpus").address().address == "ws://[::1]:8786"

    def test_a_connection_that_is_missing_is_named_with_how_to_add_it(self, airflow_database):
        command = "airflow connections add gpus --conn-type dask --conn-host HOST --conn-port 8786"
        with pytest.raises(ClusterError, match=f"no Airflow connection 'gpus'; add it: {command}"):
            DaskHook("gpus").address()

    def test_a_field_that_cannot_work_is_named_with_the_connection(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", "dask://10.0.0.5?timeout=soon")
        with pytest.raises(ClusterError, match="connection 'dask_default': timeout: 'soon' is not"):
            DaskHook().address()


class TestConnection:
    def test_a_client_of_it_can_compute(self, dask, monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", dask.replace("tcp", "dask", 1))
        with DaskHook().get_conn() as client:
            assert client.submit(int, "7").result() == 7

    def test_testing_it_says_what_there_is(self, dask):
        works, said = connection(dask).test_connection()
        assert works, said
        assert said == f"the Dask scheduler at {dask} answers; workers: 2, threads: 6"

    def test_a_scheduler_without_workers_is_a_place_that_can_be_reached(self, tmp_path):
        with scheduler(tmp_path) as (address, _):
            works, said = connection(address).test_connection()
        assert works
        assert said == f"the Dask scheduler at {address} answers; it has no worker yet"

    def test_gpus_are_counted(self, tmp_path):
        with (
            scheduler(tmp_path) as (address, _),
            worker(address, "--resources", "GPU=2", "--local-directory", tmp_path),
        ):
            await_workers(address, 1)
            _, said = connection(address).test_connection()
        assert said.endswith("workers: 1, threads: 1, GPUs: 2")

    def test_a_scheduler_that_is_not_there_is_one_sentence_with_its_address(self):
        works, said = connection("tcp://127.0.0.1:9", timeout=0.5).test_connection()
        assert not works
        assert said.startswith("no Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s")
        assert "\n" not in said

    def test_a_wrong_field_is_one_sentence(self, dask):
        works, said = connection(dask, tls_ca_file="/nowhere/ca.pem").test_connection()
        assert not works
        assert said.endswith("tls_ca_file: /nowhere/ca.pem is not a file on this machine")

    def test_a_cluster_that_wants_certificates_gets_those_of_the_extra(self, tmp_path):
        security = Security.temporary()
        texts = {
            "tls_ca_file": security.tls_ca_file,
            "tls_cert_file": security.tls_client_cert,
            "tls_key_file": security.tls_client_key,
        }
        paths = {name: str(tmp_path / name) for name in texts}
        for name, text in texts.items():
            (tmp_path / name).write_text(text)
        ca, cert, key = paths.values()
        options = ("--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key, "--protocol", "tls")
        with scheduler(tmp_path, *options) as (address, _):
            works, said = connection(address, **paths).test_connection()
        assert works, said
        assert address.startswith("tls://")
