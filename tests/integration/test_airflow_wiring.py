"""What a study has found, handed on to the tasks around it; the study has run before."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG, task

from tests.airflow_here import run
from tests.airflow_studies import STUDIES, is_trivial, run_inline
from tuneflow.airflow import tune_task_group

pytestmark = [
    pytest.mark.integration,
    pytest.mark.one_process,
    pytest.mark.usefixtures("airflow_database"),
]


@pytest.fixture
def storage(storage):
    """Where the study 'rungs' is finished already, so that no cluster is needed."""
    run_inline("rungs", is_trivial, storage)
    return storage


def test_the_result_and_its_parts_can_be_handed_on(storage):
    @task
    def show(best, config, value):
        return [best["config"] == config, best["value"] == value]

    with DAG("handed_on", schedule=None) as dag:
        best = tune_task_group(is_trivial, name="rungs", storage=storage, **STUDIES["rungs"])
        show(best, best["config"], best["value"])
    done = run(dag)
    assert done.state == "success"
    assert done.returned("show") == [True, True]


def test_nothing_of_a_study_begins_before_the_tasks_that_are_put_before_it(storage):
    @task
    def extract():
        raise ValueError("there is no data")

    with DAG("put_before", schedule=None) as dag:
        best = tune_task_group(is_trivial, name="rungs", storage=storage, **STUDIES["rungs"])
        extract() >> best
    done = run(dag)
    assert done.state == "failed"
    assert done.states["tune.stage_0.search"] == ["upstream_failed"]
