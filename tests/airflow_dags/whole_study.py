"""A whole study as one task."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Asset

from tests.airflow_studies import STUDIES, learns
from tuneflow.airflow import TuneOperator

FOLDER = Path(os.environ["TUNEFLOW_TESTS"])

with DAG("whole", schedule=None):
    TuneOperator(
        task_id="tune",
        train=learns(FOLDER / "whole"),
        storage=str(FOLDER / "studies"),
        outlets=[Asset("best-whole")],
        **STUDIES["whole"],
    )
