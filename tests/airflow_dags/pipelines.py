"""Studies as pipelines."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Asset

from tests.airflow_studies import STUDIES, is_trivial, learns, pauses, trades
from tuneflow.airflow import tune_task_group

FOLDER = Path(os.environ["TUNEFLOW_TESTS"])


def pipeline(name, train, **more):
    """Make a DAG of a study."""
    with DAG(name, schedule=None):
        tune_task_group(
            train,
            storage=os.environ["TUNEFLOW_TESTS_STORAGE"],
            outlets=[Asset(f"best-{name}")],
            **STUDIES[name],
            **more,
        )


pipeline("rungs", learns(FOLDER / "rungs"))
pipeline("kills", learns(FOLDER / "kills"))
pipeline("again", learns(FOLDER / "again"), isolation="process")
pipeline("idle", pauses(FOLDER / "idle"))
pipeline("hundred", is_trivial, trials_per_task=20)
pipeline("trades", trades, stages=2, trials_per_task=4)
