"""Studies that fail until somebody mends what they need."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from tuneflow.airflow import tune_task_group
from tuneflow.space import Float


def needs_a_package(config):
    """Train with what may not be installed on the workers."""
    import late_package

    return late_package.loss(config)


def waiting(name, train, conn_id="dask_default"):
    """Make a DAG whose tasks are tried again and again."""
    with DAG(name, schedule=None):
        tune_task_group(
            train,
            space={"rate": Float(0.1, 0.9)},
            metric="loss",
            mode="min",
            searcher="random",
            trials=1,
            storage=os.environ["TUNEFLOW_TESTS_STORAGE"],
            conn_id=conn_id,
            retries=30,
            retry_delay=timedelta(seconds=2),
        )


waiting("no_connection", "tests.airflow_studies:is_trivial", conn_id="dask_late")
waiting("no_cluster", "tests.airflow_studies:is_trivial", conn_id="dask_down")
waiting("no_package", needs_a_package)
waiting("no_objective", "late_objective:train")
