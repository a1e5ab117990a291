"""A whole study as one deferrable task, and a DAG that takes over when it has found something.

ASHA never waits for a rung to fill, so there are no stages to show: the study streams. Its driver
runs on Dask, too, and the task in Airflow only watches it and holds no worker slot.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, dag, task

import tuneflow
from tuneflow.airflow import TuneOperator
from tuneflow.schedulers import ASHA
from tuneflow.space import Categorical, Float, Int

# Airflow and the Dask workers must both reach it: s3://, gs://, az://, or a shared folder.
HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
STORAGE = os.environ.get("TUNEFLOW_STORAGE", f"{HOME}/tuneflow-results")

MODEL = Asset("digits_model")


@dag(schedule=None, tags=["tuneflow"])
def tune_digits_asha() -> None:
    """Tune, and say so when it is done."""
    TuneOperator(
        task_id="tune",
        train="train_digits.py:train",
        space={
            "learning_rate": Float(1e-4, 1e-1, log=True),
            "alpha": Float(1e-6, 1e-1, log=True),
            "width": Int(16, 256, log=True),
            "depth": Int(1, 3),
            "batch_size": Categorical([32, 64, 128, 256]),
        },
        metric="accuracy",
        mode="max",
        scheduler=ASHA(max_resource=27, reduction_factor=3),
        trials=40,
        storage=STORAGE,
        existing="new",
        # The event carries the configuration, the value and where the checkpoint is.
        outlets=[MODEL],
    )


@dag(schedule=[MODEL], tags=["tuneflow"])
def deploy_digits() -> None:
    """Fetch the model that a study has found; begun by that study's event."""

    @task(inlets=[MODEL])
    def fetch(inlet_events: Any = None) -> str:
        """Download the checkpoint of the newest winner, and return where it is."""
        best = inlet_events[MODEL][-1].extra
        folder = tuneflow.load(best["study"]).checkpoint()
        print(f"{best['config']} has an accuracy of {best['value']:.3f}; its model: {folder}")
        return str(folder)

    fetch()


tune_digits_asha()
deploy_digits()
