"""The last leg of a study that was begun elsewhere; a test puts the objective beside this file."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from tests.relay import NAME, STUDY
from tuneflow.airflow import tune_task_group

with DAG(NAME, schedule=None):
    tune_task_group("train.py:train", storage=os.environ["TUNEFLOW_TESTS_STORAGE"], **STUDY)
