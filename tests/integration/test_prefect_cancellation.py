"""Cancel and kill flow runs whose trials are on a Dask cluster that outlives them."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from tests.airflow_system import ROOT
from tests.clusters import family, process, until
from tests.end_to_end import assert_whole, computed, hold, let_go, saved, steps
from tests.lasting_cluster import lasting_cluster
from tests.prefect_server import free_port, logs
from tuneflow.prefect import tune_flow
from tuneflow.prefect.cancellation import stop_trials, tell_study
from tuneflow.remote.orders import driver_key, segment_key
from tuneflow.remote.segments import controls

STUDY = "file:///studies/one"


class TestTelling:
    def test_trials_of_the_study_are_told_to_end(self):
        with controls.listening(segment_key(STUDY, 17, 3, 1)) as control:
            assert tell_study(STUDY)
            assert control.requested == "abandon"

    def test_nobody_else_is(self):
        others = (segment_key(f"{STUDY}-2", 17, 3, 1), driver_key(STUDY, 1))
        with (
            controls.listening(others[0]) as another_study,
            controls.listening(others[1]) as a_driver,
        ):
            assert not tell_study(STUDY)
            assert another_study.requested is a_driver.requested is None


class TestWithoutACluster:
    """The hook is called by Prefect, and what it raised would be a page of traceback."""

    def made(self, **options):
        return tune_flow(
            lambda config: config["x"],
            name="stopped",
            space={"x": {"type": "float", "low": 0, "high": 1}},
            metric="loss",
            mode="min",
            storage="memory://stopped",
            trials=3,
            **options,
        )

    RUN = FlowRun(flow_id=uuid.uuid4(), name="run")

    def test_threads_have_ended_with_their_process(self, caplog):
        stop_trials(self.made(), self.RUN, Cancelling())
        assert caplog.text == ""

    @pytest.mark.integration
    def test_a_cluster_that_is_away_is_a_warning(self, prefect_api, caplog):
        address = f"tcp://127.0.0.1:{free_port()}"
        stop_trials(self.made(task_runner=address), self.RUN, Cancelling())
        assert "trials may still run on the Dask cluster: no Dask scheduler answers" in caplog.text


@pytest.fixture
def served(prefect_api, tmp_path, storage):
    """A flow that is served, the cluster that its trials run on, and the folder they share."""
    folder, clusters = tmp_path / "tested", tmp_path / "cluster"
    folder.mkdir()
    clusters.mkdir()
    with (
        lasting_cluster(clusters, workers=2, threads=2, PYTHONPATH=str(ROOT)) as cluster,
        serving(folder, storage, cluster.address) as started,
    ):
        yield SimpleNamespace(
            folder=folder, cluster=cluster, process=started, url=f"{storage}/tested"
        )


@contextmanager
def serving(folder, storage, address):
    """A process that serves `prefect_flows.tested`."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TESTED_FOLDER": str(folder),
        "TESTED_STORAGE": storage,
        "TESTED_CLUSTER": address,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    command = (ROOT / "tests" / "prefect_flows.py", "serve")
    with (
        (folder / "served.log").open("w") as log,
        process(*command, env=environment, stdout=log, stderr=log) as started,
    ):
        until(lambda: is_served() or started.poll() is not None, 60, 0.2)
        assert started.poll() is None, (folder / "served.log").read_text()
        yield started


def is_served():
    with get_client(sync_client=True) as client:
        return [one for one in client.read_deployments() if one.name == "served"]


def begin():
    """Have the served flow run; return the flow run."""
    return run_deployment("tested/served", timeout=0, as_subflow=False)


def state_of(run):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id).state


def await_state(run, *names):
    """Wait until a flow run has come to one of these states; return its name."""
    return until(lambda: state_of(run).name in names and state_of(run).name, 90, 0.2)


def held_run(served, limit):
    """Begin a run whose trials wait after so many steps in all."""
    hold(served.folder, limit)
    run = begin()
    until(lambda: len(steps(served.folder)) >= limit or state_of(run).is_final(), 60, 0.1)
    assert not state_of(run).is_final(), state_of(run)
    return run


def flow_process(served):
    """Return the process of the flow run that is under way."""
    (found,) = [
        one for one in family(served.process.pid) if "--multiprocessing-fork" in one.cmdline()
    ]
    return found


def assert_trials_end(served, running):
    """Let trials go on, and make sure that none does for longer than until its next report."""
    before = Counter(trial for trial, _, _ in steps(served.folder))
    let_go(served.folder)
    until(lambda: not any(served.cluster.tasks().values()), 30, 0.1)
    after = Counter(trial for trial, _, _ in steps(served.folder))
    assert len(after - before) <= running
    assert max((after - before).values(), default=0) <= 1


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(300)
class TestServedFlow:
    def test_cancelling_it_ends_its_trials_and_the_next_run_finishes_the_study(self, served):
        run = held_run(served, limit=6)
        flow = flow_process(served)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())
        until(lambda: not flow.is_running(), 60, 0.1)
        assert_trials_end(served, running=4)
        await_state(run, "Cancelled")
        assert "'stop_trials' finished running successfully" in logs(run.id, "finished running")
        kept = saved(served.url)
        again = begin()
        assert await_state(again, "Completed", "Failed", "Crashed") == "Completed"
        assert_whole(served.url)
        assert all(computed(served.folder)[level] == 1 for level in kept)

    def test_killing_its_process_ends_its_trials_and_the_next_run_finishes_the_study(self, served):
        run = held_run(served, limit=14)
        os.kill(flow_process(served).pid, signal.SIGKILL)
        assert await_state(run, "Crashed") == "Crashed"
        assert_trials_end(served, running=4)
        kept = saved(served.url)
        assert kept
        again = begin()
        assert await_state(again, "Completed", "Failed", "Crashed") == "Completed"
        assert_whole(served.url)
        assert all(computed(served.folder)[level] == 1 for level in kept)
