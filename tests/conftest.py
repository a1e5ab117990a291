"""What all tests of Airflow share: a home of its own, and one whole Airflow for who needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest_plugins = ["tests.in_parallel", "tests.storages"]

DAGS = Path(__file__).parent / "airflow_dags"


# Libraries that fit models start a thread for each core, and these mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

HOME = tempfile.mkdtemp(prefix="tuneflow-airflow-")
Path(HOME, "dags").mkdir()
# Airflow looks at these when it is first imported, and would make a folder in the user's home.
os.environ["AIRFLOW_HOME"] = HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

# Prefect looks at these when it is first imported, and would write to the user's home.
PREFECT_HOME = tempfile.mkdtemp(prefix="tuneflow-prefect-")
os.environ["PREFECT_HOME"] = PREFECT_HOME
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "False"
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "90"
os.environ["DO_NOT_TRACK"] = "1"


def pytest_unconfigure():
    """Remove the homes of Airflow and Prefect."""
    shutil.rmtree(HOME, ignore_errors=True)
    shutil.rmtree(PREFECT_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_database():
    """The database that `dag.test()` uses, with its tables."""
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def airflow_system(storages, tmp_path_factory):
    """An Airflow that runs and a Dask cluster beside it; see `tests.airflow_world.World`."""
    from tests.airflow_system import POSTGRES, is_installed
    from tests.airflow_world import world

    if not is_installed():
        pytest.skip(f"{POSTGRES} is missing (apt-get install postgresql)")
    folder = tmp_path_factory.mktemp("airflow")
    with world(DAGS, folder, storages.new_url(folder)) as made:
        yield made


@pytest.fixture(scope="session")
def rungs(airflow_system):
    """The id of a finished run of the DAG 'rungs'."""
    return airflow_system.complete("rungs")


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory):
    """The API's URL of a Prefect server that runs, and that Prefect is set to use here."""
    from tests.prefect_server import server, tell_everything, using

    with server(tmp_path_factory.mktemp("prefect")) as url, using(url):
        yield url
        tell_everything()


@pytest.fixture(scope="session")
def temporary_server():
    """Ends the server that Prefect starts by itself, if it does, while it can still say so."""
    yield
    from tests.prefect_server import end_temporary

    end_temporary()


@pytest.fixture
def no_prefect_api(temporary_server):
    """Prefect without a server: it starts one for the time being where it needs one."""
    from tests.prefect_server import without

    with without():
        yield
