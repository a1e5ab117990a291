"""Deployments with schedules: by `flow.serve`, and by prefect.yaml with a worker that runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

import tuneflow
from tests.airflow_system import ROOT
from tests.clusters import process, until
from tests.storages import keys, storage_of
from tuneflow.errors import SpecError
from tuneflow.prefect import tune_flow

SCHEDULES = {"tune-digits/weekly": "0 3 * * 1", "tune-digits-asha/weekly": "0 5 * * 1"}


@pytest.fixture
def flow(tmp_path):
    """A flow that is never run."""
    return tune_flow(
        lambda config: config["x"],
        name="scheduled",
        space={"x": {"type": "float", "low": 0, "high": 1}},
        metric="loss",
        mode="min",
        trials=3,
        storage=tmp_path,
    )


class TestCron:
    @pytest.mark.parametrize("method", ["serve", "to_deployment", "deploy"])
    @pytest.mark.parametrize("cron", ["every monday", "61 * * * *", "* * * *", "", "h h * * *"])
    def test_a_wrong_one_is_one_clear_error_before_anything_is_asked_of_a_server(
        self, flow, method, cron
    ):
        with pytest.raises(SpecError) as told:
            getattr(flow, method)("weekly", cron=cron)
        assert str(told.value) == (
            f"cron: {cron!r} is no cron schedule; write five fields, such as '0 3 * * 1' for "
            "Mondays at three"
        )

    def test_each_of_several_is_looked_at(self, flow):
        with pytest.raises(SpecError, match="'later' is no cron schedule"):
            flow.to_deployment("weekly", cron=["0 3 * * 1", "later"])

    def test_a_right_one_is_passed_on(self, flow):
        made = flow.to_deployment("weekly", cron="0 3 * * 1")
        assert [one.schedule.cron for one in made.schedules] == ["0 3 * * 1"]

    def test_a_flow_with_other_options_looks_at_it_too(self, flow):
        with pytest.raises(SpecError, match="is no cron schedule"):
            flow.with_options(retries=1).serve(cron="never")


def environment(folder, **more):
    given = {"PYTHONPATH": str(ROOT), "TUNEFLOW_STORAGE": storage_of(folder), **more}
    return {**os.environ, **given}


def prefect(folder, *arguments):
    """Run a ``prefect`` command to its end where prefect.yaml is; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def schedules():
    """Return the schedules of the deployments of the example, of those that there are."""
    found = {}
    with get_client(sync_client=True) as client:
        for name in SCHEDULES:
            try:
                deployment = client.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
            found[name] = [one.schedule.cron for one in deployment.schedules]
    return found


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(240)
class TestExamples:
    def test_serving_makes_deployments_with_schedules(self, prefect_api, tmp_path):
        script = ROOT / "flows" / "tune_digits.py"
        log = tmp_path / "served.log"
        with (
            log.open("w") as file,
            process(script, "--serve", env=environment(tmp_path), stdout=file, stderr=file) as one,
        ):
            wanted = {name: [cron] for name, cron in SCHEDULES.items()}
            until(lambda: schedules() == wanted or one.poll() is not None, 60, 0.2)
            assert one.poll() is None, log.read_text()

    def test_a_worker_runs_what_prefect_yaml_has_deployed(self, prefect_api, tmp_path, storage):
        shutil.copytree(ROOT / "flows", tmp_path / "flows")
        shutil.copy(ROOT / "prefect.yaml", tmp_path)
        prefect(tmp_path, "work-pool", "create", "tuneflow", "--type", "process", "--overwrite")
        prefect(tmp_path, "deploy", "--all")
        assert schedules() == {name: [cron] for name, cron in SCHEDULES.items()}
        wanted = {"trials": 4, "space": {"width": 16, "depth": 1, "batch_size": 256}}
        run = run_deployment("tune-digits/weekly", parameters=wanted, timeout=0, as_subflow=False)
        said = prefect(tmp_path, "worker", "start", "--pool", "tuneflow", "--run-once")
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run.id).state
        assert state.name == "Completed", f"{state}\n{said}"
        (key,) = keys(storage_of(tmp_path), "tune-digits-*/study.json")
        url = f"{storage_of(tmp_path)}/{key.removesuffix('/study.json')}"
        result = tuneflow.load(url)
        assert result.state == "finished"
        assert len(result.trials) == 4
        assert keys(url, "report.html")
