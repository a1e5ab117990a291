"""A study as a pipeline: Hyperband tunes a network on handwritten digits.

Each round of the study is a stage of the task group ``tune``: ``search`` proposes configurations,
a mapped ``trial`` task for each of them waits, deferred, while a Dask worker trains it, and
``schedule`` promotes the best. ``tune.best`` hands the winner to the tasks after it.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from tuneflow.airflow import tune_task_group
from tuneflow.schedulers import Hyperband
from tuneflow.space import Categorical, Float, Int

# Airflow and the Dask workers must both reach it: s3://, gs://, az://, or a shared folder.
HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
STORAGE = os.environ.get("TUNEFLOW_STORAGE", f"{HOME}/tuneflow-results")

GOOD_ENOUGH = 0.9


@dag(schedule=None, tags=["tuneflow"])
def tune_digits_hyperband() -> None:
    """Tune, and let the winner pass only if it is good enough."""
    best = tune_task_group(
        # A file beside this one. It is not imported here, but sent to the workers.
        "train_digits.py:train",
        space={
            "learning_rate": Float(1e-4, 1e-1, log=True),
            "alpha": Float(1e-6, 1e-1, log=True),
            "width": Int(16, 256, log=True),
            "depth": Int(1, 3),
            "batch_size": Categorical([32, 64, 128, 256]),
        },
        metric="accuracy",
        mode="max",
        scheduler=Hyperband(max_resource=27, reduction_factor=3),
        storage=STORAGE,
        # Each run of the DAG is a study of its own. "resume" would go on with the last one.
        existing="new",
        # Any argument of an Airflow operator, here for the trial tasks alone.
        trial_args={"execution_timeout": timedelta(hours=1)},
    )

    @task
    def check(best: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration that won, for whatever comes next."""
        if best["value"] < GOOD_ENOUGH:
            raise ValueError(f"an accuracy of {best['value']:.3f} is not good enough")
        print(f"trial {best['trial']} won with {best['value']:.3f}; see {best['study']}")
        return best["config"]

    check(best)


tune_digits_hyperband()
