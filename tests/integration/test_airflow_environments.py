"""A searcher in an environment of its own, in a whole Airflow: each task starts it anew."""

from __future__ import annotations

import psutil
import pytest

import tuneflow
from tests.airflow_studies import is_trivial
from tests.clusters import until
from tests.end_to_end import entries
from tests.isolated import ROUNDS, shared_cache
from tuneflow.environments import serving
from tuneflow.environments.cache import CACHE

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


def libraries(home):
    """Return the libraries' processes that the tasks of an Airflow have started."""
    found = psutil.process_iter(["cmdline", "environ"], ad_value={})
    ours = [one.info for one in found if (one.info["environ"] or {}).get("AIRFLOW_HOME") == home]
    return [info for info in ours if serving.__file__ in info["cmdline"]]


def test_each_stage_goes_on_with_what_the_library_would_have_proposed(
    airflow_system, tmp_path, monkeypatch
):
    monkeypatch.setenv(CACHE, shared_cache())
    run_id = airflow_system.complete("isolated", 500)
    until(lambda: not libraries(str(airflow_system.airflow.home)), 20)
    states = airflow_system.airflow.states("isolated", run_id)
    assert [states[f"tune.stage_{stage}.trial"] for stage in range(3)] == [["success"] * 3] * 3
    inline = tuneflow.tune(
        is_trivial, name="isolated", storage=tmp_path, executor="inline", progress=False, **ROUNDS
    )
    assert entries(airflow_system.url("isolated")) == entries(tmp_path / "isolated")
    assert inline.best_value < 0.11, "the library has learnt"
