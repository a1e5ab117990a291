"""Successive halving of trials that are not Python: a program in awk, which every Unix has.

tuneflow runs any command. It gets its parameters as arguments and prints a JSON object for each
report; see docs/objectives.md.
"""

from __future__ import annotations

import os
from pathlib import Path

from airflow.sdk import dag

from tuneflow.airflow import tune_task_group
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Float

# Airflow and the Dask workers must both reach it: s3://, gs://, az://, or a shared folder.
HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
STORAGE = os.environ.get("TUNEFLOW_STORAGE", f"{HOME}/tuneflow-results")

# A program has to be on the workers already. This one is small enough to be an argument itself;
# braces are doubled, because arguments are templates.
PROGRAM = Path(__file__).with_name("fit_sine.awk").read_text()
ARGUMENT = PROGRAM.replace("{", "{{").replace("}", "}}")


@dag(schedule=None, tags=["tuneflow"])
def tune_command() -> None:
    """Give nine trials 3 epochs, the best three 9, and the best of them 27."""
    tune_task_group(
        {"command": ["awk", "-v", "rate={rate}", "-v", "momentum={momentum}", ARGUMENT]},
        space={"rate": Float(1e-3, 0.5, log=True), "momentum": Float(0.0, 0.95)},
        metric="loss",
        mode="min",
        searcher="random",
        scheduler=SuccessiveHalving(max_resource=27, min_resource=3, n_trials=9),
        trials=9,
        storage=STORAGE,
    )


tune_command()
