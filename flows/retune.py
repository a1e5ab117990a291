"""Retune a small neural network every week, and when the model in use has got worse.

    python flows/retune.py                  # once, on the data of today
    python flows/retune.py --day 2026-11-23 # once, on those of another day
    python flows/retune.py --serve          # until Ctrl-C, all that is below

The last one needs a server: ``prefect server start`` and PREFECT_API_URL. It serves three flows:

* ``retune_digits``, every Monday and whenever ``check_drift`` tells of drift;
* ``check_drift``, every hour: it looks at the accuracy that a monitor writes down;
* ``deploy_champion``, when there is a new champion.

The deployments in prefect.yaml run the same flows on a work pool.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from prefect import flow, serve
from prefect.events import DeploymentEventTrigger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tuneflow
from tuneflow.prefect import report_drift, retune_flow
from tuneflow.retune.checkpoint import download_checkpoint
from tuneflow.retune.line import Line
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Float, Int

EPOCHS = 9

# A URL that Dask workers can reach, too: s3://, gs://, az://, or a shared folder.
STORAGE = os.environ.get("TUNEFLOW_STORAGE", str(Path.home() / "tuneflow-results"))
LINE = "scanned-digits"

# Where trials run: a Dask scheduler; threads of the flow's process if this is not set.
DASK = os.environ.get("TUNEFLOW_DASK")


def tell(flow: Any, flow_run: Any, state: Any) -> None:
    """Say that a retune has failed; in its place goes a notifier of yours, for mail or chat."""
    print(f"the run {flow_run.name} has failed, and the champion is who it was: {state.message}")


@retune_flow(
    name=LINE,
    space={
        "learning_rate": Float(1e-4, 1e-1, log=True),
        "alpha": Float(1e-6, 1e-1, log=True),
        "width": Int(16, 256, log=True),
        # Which data are meant: the flow's parameter data_version, or else today.
        "day": "{data_version}",
    },
    metric="accuracy",
    mode="max",
    scheduler=SuccessiveHalving(max_resource=EPOCHS, reduction_factor=3),
    storage=STORAGE,
    # The challenger has to be better by half a per cent, and that with 95 % confidence.
    margin=0.005,
    confidence=0.95,
    seeds=5,
    # Epochs, those that measure champion and challenger included.
    limits={"total_resource": 200},
    task_runner=DASK,
    on_failure=[tell],
)
def retune_digits(config: dict[str, Any]) -> Iterator[Any]:
    """Train on handwritten digits whose scanner gets worse and is cleaned again.

    The seed decides on everything that is left to chance: two configurations that train with the
    same one differ by nothing else.
    """
    images, labels = scanned(config["day"])
    x_train, x_valid, y_train, y_valid = train_test_split(
        images, labels, test_size=0.25, random_state=config["seed"], stratify=labels
    )
    network, first = load(config)
    for epoch in range(first, EPOCHS):
        network.partial_fit(x_train, y_train, classes=range(10))
        yield {"accuracy": network.score(x_valid, y_valid)}, saver(network, epoch + 1)


def scanned(day: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as the scanner saw them on a day, and what they are.

    The noise grows from week to week and falls back every fifth.
    """
    images, labels = load_digits(return_X_y=True)
    week = date.fromisoformat(day).toordinal() // 7
    noise = np.random.default_rng(week).normal(0.0, 0.15 * (week % 5), images.shape)
    return images / 16.0 + noise, labels


def load(config: dict[str, Any]) -> tuple[MLPClassifier, int]:
    """Return the network of the newest checkpoint and its epoch, or a new network."""
    saved = tuneflow.checkpoint()
    if saved is not None:
        network, epoch = joblib.load(saved / "network.joblib")
        return network, epoch
    network = MLPClassifier(
        hidden_layer_sizes=(config["width"],),
        alpha=config["alpha"],
        learning_rate_init=config["learning_rate"],
        random_state=config["seed"],
    )
    return network, 0


def saver(network: MLPClassifier, epoch: int) -> Callable[[Path], Any]:
    """Return what saves the network in a folder, if a checkpoint is wanted."""
    return lambda folder: joblib.dump((network, epoch), folder / "network.joblib")


@flow(log_prints=True)
def check_drift(
    url: str = f"{STORAGE}/monitoring/digits.jsonl", metric: str = "accuracy", below: float = 0.9
) -> bool:
    """Look at what a monitor has written down, such as {"accuracy": 0.93}, one line for each look.

    Where that is too little an event begins a retune; once a day at most, as the new champion has
    to be in use before it can be any better.
    """
    return bool(report_drift(url, metric, below=below, storage=STORAGE, name=LINE))


@flow(log_prints=True)
def deploy_champion(folder: str = "champion") -> None:
    """Fetch the model of the champion; begun by the event of its promotion."""
    champion = Line.open(f"{STORAGE}/{LINE}").log.champion
    if champion is None:
        print(f"{LINE} has no champion yet")
        return
    target = Path(folder) / str(champion.retune)
    if not target.exists():
        download_checkpoint(champion, target)
    print(f"{dict(champion.config)} has an accuracy of {champion.value:.3f}: {target}")


def triggered_by(event: str, **parameters: Any) -> DeploymentEventTrigger:
    """Return what begins a run when there is such an event of the line."""
    return DeploymentEventTrigger(
        name=f"{LINE}: {event}",
        expect={event},
        match={"prefect.resource.name": LINE},
        parameters=parameters,
    )


def serve_all() -> None:
    """Serve the flows until Ctrl-C."""
    serve(
        retune_digits.to_deployment(
            "weekly",
            cron="0 2 * * 1",
            triggers=[triggered_by("tuneflow.metric.drifted", trigger="drift")],
            # A newer retune would overtake the one under way: let it wait.
            concurrency_limit=1,
        ),
        check_drift.to_deployment("hourly", cron="0 * * * *"),
        deploy_champion.to_deployment(
            "on-promotion", triggers=[triggered_by("tuneflow.champion.promoted")]
        ),
    )


def main() -> None:
    """Retune once, or serve the flows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--day", help="which data to retune on; today if not given")
    parser.add_argument("--serve", action="store_true", help="serve the flows until Ctrl-C")
    options = parser.parse_args()
    if options.serve:
        serve_all()
        return
    verdict = retune_digits(data_version=options.day)
    word = "promoted" if verdict["promoted"] else "kept"
    print(f"{word}: {verdict['reason']}\n{verdict['champion']}")


if __name__ == "__main__":
    main()
