"""A searcher in an environment of its own, in a flow on a Prefect server."""

from __future__ import annotations

import pytest

import tuneflow
from tests.airflow_studies import is_trivial
from tests.end_to_end import entries
from tests.isolated import ROUNDS, shared_cache
from tests.prefect_server import flow_runs, task_runs
from tuneflow.environments.cache import CACHE
from tuneflow.prefect import tune_flow

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


def test_each_round_goes_on_with_what_the_library_would_have_proposed(
    prefect_api, tmp_path, storage, monkeypatch
):
    monkeypatch.setenv(CACHE, shared_cache())
    flow = tune_flow(is_trivial, name="isolated", storage=storage, **ROUNDS)
    best = flow()
    states = task_runs(flow_runs("isolated")[-1].id, 9 + 2 * 3)
    assert set(states.values()) == {"Completed"}
    inline = tuneflow.tune(
        is_trivial, name="isolated", storage=tmp_path, executor="inline", progress=False, **ROUNDS
    )
    assert entries(f"{storage}/isolated") == entries(tmp_path / "isolated")
    assert best["value"] == inline.best_value
