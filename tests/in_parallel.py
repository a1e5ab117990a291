"""In which order tests run, and which of them in the same process: see `make test`.

There is one whole Airflow, so the tests that look at it share a process.
"""

from __future__ import annotations

import pytest

AIRFLOW = {
    "tests/browser/test_airflow_grid.py",
    "tests/browser/test_airflow_report.py",
    "tests/integration/test_airflow_environments.py",
    "tests/integration/test_airflow_report.py",
    "tests/integration/test_airflow_retune_system.py",
    "tests/integration/test_airflow_storage_connection.py",
    "tests/integration/test_airflow_system.py",
    "tests/integration/test_any_resumes_any.py",
}
"""The files with tests of the whole Airflow, which has the fixture `airflow_system`."""


def pytest_collection_modifyitems(items):
    """Begin with what takes long; nothing waits beside an Airflow that has nothing to do."""
    for item in items:
        if "airflow_system" in getattr(item, "fixturenames", ()):
            assert _file(item.nodeid) in AIRFLOW, f"name the file of {item.nodeid} in AIRFLOW"
    items.sort(key=lambda item: _turn(_file(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Have each file in one process, and all of those with Airflow."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = _file(nodeid)
            return "airflow" if file in AIRFLOW else file

    return ByFile(config, log)


def _file(nodeid):
    return nodeid.split("::", 1)[0]


def _turn(file):
    if file in AIRFLOW:
        return 1
    return 0 if file.startswith(("tests/integration/", "tests/browser/")) else 2
