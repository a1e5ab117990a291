"""Studies whose storage needs the credentials of an Airflow connection."""

from __future__ import annotations

from airflow.sdk import DAG

from tests.airflow_studies import RATE
from tuneflow.airflow import TuneOperator, retune_task_group, tune_task_group
from tuneflow.schedulers import SuccessiveHalving

PLACE = {
    "storage": "{{ dag_run.conf['storage'] }}",
    "conn_id": "dask_elsewhere",
    "storage_conn_id": "storage_elsewhere",
}
STUDY = {
    "train": "tests.airflow_studies:is_trivial",
    "space": RATE,
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "trials": 4,
    **PLACE,
}

with DAG("connected_whole", schedule=None):
    TuneOperator(task_id="tune", **STUDY)

with DAG("connected_stages", schedule=None):
    halving = SuccessiveHalving(max_resource=2, reduction_factor=2)
    tune_task_group(**STUDY, scheduler=halving)

with DAG("connected_retune", schedule=None):
    retune_task_group(**STUDY, seeds=3)
