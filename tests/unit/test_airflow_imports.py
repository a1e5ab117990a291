"""tuneflow.airflow is there without Airflow, and says what is missing when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tuneflow.airflow
from tuneflow.errors import MissingDependencyError


def python(program):
    """Run a program in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_does_not_import_airflow():
    program = "import sys, tuneflow.airflow; print('airflow' in sys.modules)"
    assert python(program) == "False"


@pytest.mark.parametrize("name", tuneflow.airflow.__all__)
def test_without_airflow_a_name_says_what_to_install(name):
    program = (
        "import sys; sys.modules['airflow'] = None\n"
        f"try: from tuneflow.airflow import {name}\n"
        "except Exception as error: print(type(error).__name__, error, sep=': ')\n"
    )
    error = MissingDependencyError("apache-airflow", "airflow")
    assert python(program) == f"MissingDependencyError: {error}"


def test_what_else_is_missing_is_said_as_it_is():
    program = (
        "import sys; sys.modules['obstore'] = None\n"
        "try: from tuneflow.airflow import tune_task_group\n"
        "except ModuleNotFoundError as error: print(error.name)\n"
    )
    assert python(program).startswith("obstore")


def test_all_names_are_listed_and_a_wrong_one_is_named():
    assert dir(tuneflow.airflow) == sorted(tuneflow.airflow.__all__)
    with pytest.raises(AttributeError, match="'tune_taskgroup'"):
        tuneflow.airflow.tune_taskgroup  # noqa: B018 - looking it up is the test
