"""One Airflow for all tests that need a whole one: its start is what takes the time."""

from __future__ import annotations

from pathlib import Path

import pytest

DAGS = Path(__file__).parent / "airflow_dags"


def pytest_collection_modifyitems(items):
    """Let the tests of a whole Airflow come last, so that it does not run beside the others."""
    items.sort(key=lambda item: "airflow_system" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def airflow_system(tmp_path_factory):
    """An Airflow that runs and a Dask cluster beside it; see `tests.airflow_world.World`."""
    from tests.airflow_system import POSTGRES, is_installed
    from tests.airflow_world import world

    if not is_installed():
        pytest.skip(f"{POSTGRES} is missing (apt-get install postgresql)")
    with world(DAGS, tmp_path_factory.mktemp("airflow")) as made:
        yield made


@pytest.fixture(scope="session")
def rungs(airflow_system):
    """The id of a finished run of the DAG 'rungs'."""
    return airflow_system.complete("rungs")
