"""Whole studies, each as one task."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Asset

from tests.airflow_studies import STUDIES, learns, trades
from tuneflow.airflow import TuneOperator

FOLDER = Path(os.environ["TUNEFLOW_TESTS"])


def whole(name, train):
    """Make a DAG of a study."""
    with DAG(name, schedule=None):
        TuneOperator(
            task_id="tune",
            train=train,
            storage=os.environ["TUNEFLOW_TESTS_STORAGE"],
            outlets=[Asset(f"best-{name}")],
            **STUDIES[name],
        )


whole("whole", learns(FOLDER / "whole"))
whole("trades_streaming", trades)
