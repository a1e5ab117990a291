"""One study of three rungs, of 27, 9 and 3 trials: as tuneflow makes it, and written by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

from airflow.sdk import DAG, task

from tuneflow.airflow import tune_task_group
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Float

ADDRESS = os.environ["BENCH_DASK"]
STORAGE = os.environ["BENCH_STORAGE"]
RUNGS = (27, 9, 3)


def loss(config: dict[str, Any]) -> float:
    """Return a value at once."""
    return (config["x"] - 2) ** 2


def losses(config: dict[str, Any]) -> Iterator[float]:
    """Return the value again at every level that is asked for."""
    while True:
        yield loss(config)


def evaluate(config: dict[str, Any]) -> dict[str, Any]:
    """Run a trial in the worker slot of its task."""
    return {**config, "loss": loss(config)}


def evaluate_on_dask(config: dict[str, Any]) -> dict[str, Any]:
    """Run a trial on Dask; its task holds a worker slot meanwhile."""
    from distributed import Client

    # Dask could not import a function of this module: Airflow gives it a name of its own.
    def squared(x: float) -> float:
        return (x - 2) ** 2

    with Client(ADDRESS, set_as_default=False) as client:
        return {**config, "loss": client.submit(squared, config["x"], pure=False).result()}


def propose() -> list[dict[str, Any]]:
    """Draw the configurations of the first rung."""
    return [{"trial": number, "x": random.uniform(-10, 10)} for number in range(RUNGS[0])]


def begin(promoted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hand a rung's configurations to its trials."""
    return promoted


def promote(results: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return the best configurations of a rung."""
    return sorted(results, key=lambda result: result["loss"])[:count]


def choose(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the best of all."""
    return min(results, key=lambda result: result["loss"])


def by_hand(name: str, trial: Any) -> None:
    """Make a DAG as one writes it without tuneflow: search, trials and schedule of each rung."""
    with DAG(name, schedule=None):
        current: Any = None
        for rung, count in enumerate((*RUNGS[1:], 1)):
            search = task(begin if rung else propose, task_id=f"search_{rung}")
            configs = search(current) if rung else search()
            results = task(trial, task_id=f"trial_{rung}").expand(config=configs)
            current = task(promote, task_id=f"schedule_{rung}")(results, count)
        task(choose, task_id="best")(current)


by_hand("plain", evaluate)
by_hand("plain_on_dask", evaluate_on_dask)

with DAG("tuneflow", schedule=None):
    tune_task_group(
        losses,
        space={"x": Float(-10, 10)},
        metric="loss",
        mode="min",
        searcher="random",
        scheduler=SuccessiveHalving(max_resource=9, reduction_factor=3, n_trials=RUNGS[0]),
        trials=RUNGS[0],
        storage=STORAGE,
        existing="new",
    )
