"""A study that cannot be."""

from __future__ import annotations

from airflow.sdk import DAG

from tuneflow.airflow import tune_task_group
from tuneflow.space import Float

with DAG("wrong_spec", schedule=None):
    tune_task_group(
        "train.py:train",
        space={"lr": Float(0.1, 0.9)},
        metric="loss",
        mode="min",
        scheduler={"type": "successive_halving", "max_resource": 9, "reduction_factor": 1},
        storage="memory://never",
    )
