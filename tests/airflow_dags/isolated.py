"""A study whose searcher has an environment of its own."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from tests.airflow_studies import is_trivial
from tests.isolated import ROUNDS, shared_cache
from tuneflow.airflow import tune_task_group
from tuneflow.environments.cache import CACHE

os.environ[CACHE] = shared_cache()

with DAG("isolated", schedule=None):
    tune_task_group(is_trivial, storage=os.environ["TUNEFLOW_TESTS_STORAGE"], **ROUNDS)
