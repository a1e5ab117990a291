"""A retune that new data set off, and what its new champion sets off."""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import DAG, Asset, task

from tests.airflow_studies import RETUNE, chooses
from tuneflow.airflow import retune_task_group

FOLDER = Path(os.environ["TUNEFLOW_TESTS"])
CHAMPION = Asset("champion")

with DAG("retuned", schedule=[Asset("data")]):
    retune_task_group(
        chooses(FOLDER / "retuned"),
        storage=os.environ["TUNEFLOW_TESTS_STORAGE"],
        outlets=[CHAMPION],
        stages=1,
        trials_per_task=3,
        retries=0,
        **RETUNE,
    )

with DAG("deployed", schedule=[CHAMPION]):

    @task(inlets=[CHAMPION])
    def deploy(inlet_events=None):
        """Return what the event says."""
        return inlet_events[CHAMPION][-1].extra

    deploy()
