"""Scheduled retuning: every week, when there are new data, and when the model has drifted.

``retune_weekly`` measures the champion on today's data, looks for a challenger with all that was
found before, and promotes it only if a paired test says that it is better. ``watch_digits`` looks
at the accuracy that a monitor writes down. ``deploy_champion`` runs when there is a new champion.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, dag, task

import tuneflow
from tuneflow.airflow import DriftOperator, retune_task_group
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Constant, Float, Int

# Airflow and the Dask workers must both reach it: s3://, gs://, az://, or a shared folder.
HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
STORAGE = os.environ.get("TUNEFLOW_STORAGE", f"{HOME}/tuneflow-results")
LINE = "scanned_digits"

SCANS = Asset("digits_scans")
DRIFT = Asset("digits_drift")
CHAMPION = Asset("digits_champion")


def tell(context: dict[str, Any]) -> None:
    """Say that a retune has failed; in its place goes a notifier of yours, for mail or chat."""
    print(f"the run {context['run_id']} has failed; the champion is who it was")


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("@weekly", timezone="UTC"), assets=SCANS | DRIFT
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    # A newer retune would overtake the one under way: let it wait.
    max_active_runs=1,
    on_failure_callback=tell,
    tags=["tuneflow"],
)
def retune_weekly() -> None:
    """Retune, and say so when there is a new champion."""
    verdict = retune_task_group(
        # A file beside this one. It is not imported here, but sent to the workers.
        "train_scanned_digits.py:train",
        space={
            "learning_rate": Float(1e-4, 1e-1, log=True),
            "alpha": Float(1e-6, 1e-1, log=True),
            "width": Int(16, 256, log=True),
            # Which data are meant: a constant of the space, and a template.
            "day": Constant("{{ dag_run.run_after | ds }}"),
        },
        metric="accuracy",
        mode="max",
        scheduler=SuccessiveHalving(max_resource=9, reduction_factor=3),
        storage=STORAGE,
        name=LINE,
        # The challenger has to be better by half a per cent, and that with 95 % confidence.
        margin=0.005,
        confidence=0.95,
        seeds=5,
        # Epochs, those that measure champion and challenger included.
        limits={"total_resource": 200},
        outlets=[CHAMPION],
    )

    @task
    def congratulate(verdict: dict[str, Any]) -> None:
        """Run in the same DAG, and only when there is a new champion."""
        print(f"{verdict['champion']['config']}: {verdict['reason']}")

    congratulate(verdict.promoted)


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    tags=["tuneflow"],
)
def watch_digits() -> None:
    """Begin a retune when the model in use has got worse."""
    DriftOperator(
        task_id="look",
        # {"accuracy": 0.93}, one line for each look at the model.
        url=f"{STORAGE}/monitoring/digits.jsonl",
        metric="accuracy",
        below=0.9,
        # Once a day at most: the new champion has to be in use before it can be any better.
        storage=STORAGE,
        name=LINE,
        outlets=[DRIFT],
    )


@dag(schedule=[CHAMPION], tags=["tuneflow"])
def deploy_champion() -> None:
    """Fetch the model of the new champion; begun by its event."""

    @task(inlets=[CHAMPION])
    def fetch(inlet_events: Any = None) -> str:
        """Download the checkpoint of the champion, and return where it is."""
        champion = inlet_events[CHAMPION][-1].extra["champion"]
        measured = tuneflow.load(champion["study"])
        folder = measured.checkpoint(measured.trials[champion["trial"]])
        print(f"{champion['config']} has an accuracy of {champion['value']:.3f}: {folder}")
        return str(folder)

    fetch()


retune_weekly()
watch_digits()
deploy_champion()
