"""Storage blocks on a real server, and a study on S3 whose credentials nobody else has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

import pytest
from prefect.client.orchestration import get_client

import tuneflow
from tests.airflow_system import ROOT
from tests.lasting_cluster import lasting_cluster
from tests.prefect_server import free_port, using
from tuneflow.errors import SpecError, StorageError
from tuneflow.prefect import StudyStorage
from tuneflow.prefect.lending import lend_credentials, storage_name, storage_url
from tuneflow.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

SECRET = "dummy-secret-key"


class TestNamedBlocks:
    def test_what_was_saved_is_found_by_its_name(self, prefect_api, tmp_path):
        block = StudyStorage(url=str(tmp_path))
        block.save("found", overwrite=True)
        assert storage_name(block) == "block:found"
        assert storage_url("block:found") == lend_credentials("block:found") == tmp_path.as_uri()

    def test_a_name_that_nobody_has_saved_is_one_clear_error(self, prefect_api):
        with pytest.raises(SpecError, match="there is no block 'nowhere' of tuneflow's") as told:
            lend_credentials("block:nowhere")
        assert "StudyStorage(url=…).save('nowhere')" in str(told.value)

    def test_a_server_that_is_away_is_one_clear_error(self):
        with (
            using(f"http://127.0.0.1:{free_port()}/api"),
            pytest.raises(StorageError, match=r"does not give the block 'found' \(Connect"),
        ):
            lend_credentials("block:found")


def test_the_ui_can_have_a_form_for_it(prefect_api):
    command = ("-m", "prefect", "block", "register", "-m", "tuneflow.prefect.blocks")
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    with get_client(sync_client=True) as client:
        answer = client._client.get("/block_types/slug/tuneflow-study-storage")
    assert answer.json()["name"] == "tuneflow study storage"


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["threads", "dask"])
def test_credentials_reach_every_process_and_stay_out_of_all_that_is_written(
    prefect_api, s3_env, s3_url, tmp_path, runner
):
    credentials = {name: value for name, value in s3_env.items() if name.startswith("AWS_")}
    StudyStorage(url=s3_url, credentials=credentials).save(f"on-s3-{runner}", overwrite=True)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    said = run_flow(bare, tmp_path, runner)
    result = tuneflow.load(f"{s3_url}/tested")
    assert result.state == "finished"
    assert len(result.trials) == 9
    stored = Store(result.url)
    for name, text in {
        "what the flow printed": said,
        "the storage": "\n".join(stored.get(key).decode(errors="replace") for key in stored.list()),
        "the server": everything(prefect_api),
    }.items():
        assert SECRET not in text, name
    assert f"block:on-s3-{runner}" in everything(prefect_api)


def run_flow(environment, folder, runner):
    """Run `prefect_flows.tested` where nobody has credentials; return what it printed."""
    tested = {"TESTED_FOLDER": str(folder), "TESTED_STORAGE": f"block:on-s3-{runner}"}
    given = {**environment, **tested, "PYTHONPATH": str(ROOT)}
    if runner == "threads":
        return command(given)
    started = {name: "" for name in os.environ if name.startswith("AWS_")}
    with lasting_cluster(folder, workers=1, threads=2, PYTHONPATH=str(ROOT), **started) as cluster:
        return command({**given, "TESTED_CLUSTER": cluster.address})


def command(environment):
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "prefect_flows.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def everything(api):
    """Return all that the server's API says of runs, logs, artifacts, events and blocks."""
    kinds = ("flow_runs", "task_runs", "logs", "artifacts", "events", "block_documents", "flows")
    return "\n".join(ask(f"{api}/{kind}/filter") for kind in kinds)


def ask(url):
    request = urllib.request.Request(
        url, data=json.dumps({}).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()
