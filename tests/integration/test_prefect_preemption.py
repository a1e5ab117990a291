"""A Prefect flow whose Dask worker is taken away: its trial goes on, and Prefect sees nothing."""

from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from tests.clusters import scheduler, until
from tests.preempted import FIRST, HELD, LEVELS, RARELY, SECOND, levels, objective, started
from tests.prefect_server import flow_runs, task_runs
from tuneflow.prefect import tune_flow
from tuneflow.schedulers import FIFO
from tuneflow.space import Float

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_trial_of_a_flow_goes_on_elsewhere_and_prefect_does_not_notice(tmp_path, prefect_api):
    env = {"PREFECT_API_URL": prefect_api}
    with (
        scheduler(tmp_path) as (address, _),
        started(tmp_path, address, FIRST, **env) as first,
    ):
        flow = tune_flow(
            objective(tmp_path),
            name="long",
            space={"x": Float(0.0, 1.0)},
            metric="loss",
            mode="min",
            searcher="random",
            scheduler=FIFO(max_resource=LEVELS),
            trials=1,
            checkpoints=RARELY,
            storage=(tmp_path / "studies").as_uri(),
            task_runner=address,
        )
        running = threading.Thread(target=copy_context().run, args=(flow,), daemon=True)
        running.start()
        until(lambda: len(levels(tmp_path)) >= HELD, 90)
        with started(tmp_path, address, SECOND, **env):
            first.terminate()
            first.wait(90)
            (tmp_path / "go").touch()
            running.join(120)
            assert not running.is_alive()
    run = flow_runs("long")[-1]
    assert run.state_name == "Completed"
    assert set(task_runs(run.id, 3).values()) == {"Completed"}
    assert [level for level, _ in levels(tmp_path)] == list(range(1, LEVELS + 1))
