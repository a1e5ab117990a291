"""Tune a small neural network on scikit-learn's handwritten digits, as Prefect flows.

    python flows/tune_digits.py                             # once, with threads of this process
    python flows/tune_digits.py --dask tcp://127.0.0.1:8786 # once, on a Dask cluster
    python flows/tune_digits.py --scheduler asha
    python flows/tune_digits.py --serve                     # every Monday, until Ctrl-C

All but the first and the third need a server: ``prefect server start`` and PREFECT_API_URL. The
deployments in prefect.yaml run the same flows on a work pool.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
from prefect import serve
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tuneflow
from tuneflow.prefect import tune_flow
from tuneflow.schedulers import ASHA, Hyperband
from tuneflow.space import Categorical, Float, Int

EPOCHS = 27

SPACE = {
    "learning_rate": Float(1e-4, 1e-1, log=True),
    "alpha": Float(1e-6, 1e-1, log=True),
    "width": Int(16, 256, log=True),
    "depth": Int(1, 3),
    "batch_size": Categorical([32, 64, 128, 256]),
}

# A URL, or block:NAME. Dask workers must reach it: s3://, gs://, az://, or a shared folder.
STORAGE = os.environ.get("TUNEFLOW_STORAGE", str(Path.home() / "tuneflow-results"))

# Where trials run: a Dask scheduler; threads of the flow's process if this is not set.
DASK = os.environ.get("TUNEFLOW_DASK")


@tune_flow(
    name="tune-digits",
    space=SPACE,
    metric="accuracy",
    mode="max",
    scheduler=Hyperband(max_resource=EPOCHS, reduction_factor=3),
    trials=40,
    storage=STORAGE,
    existing="new",
    task_runner=DASK,
)
def tune_digits(config: dict[str, Any]) -> Iterator[Any]:
    """Hyperband: a round for each of its rungs."""
    yield from train(config)


@tune_flow(
    name="tune-digits-asha",
    space=SPACE,
    metric="accuracy",
    mode="max",
    scheduler=ASHA(max_resource=EPOCHS, reduction_factor=3),
    # It has no rungs that it waits for, so this says how many trials a round has.
    round_size=8,
    trials=40,
    storage=STORAGE,
    existing="new",
    task_runner=DASK,
)
def tune_digits_asha(config: dict[str, Any]) -> Iterator[Any]:
    """ASHA: rounds of eight trials, new ones and those that are promoted."""
    yield from train(config)


def train(config: dict[str, Any]) -> Iterator[Any]:
    """Train a network epoch by epoch; yield its accuracy, and what saves it if that is wanted."""
    images, labels = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )
    network, first = load(config)
    for epoch in range(first, EPOCHS):
        network.partial_fit(x_train, y_train, classes=range(10))
        accuracy = network.score(x_valid, y_valid)
        print(f"epoch {epoch + 1}: accuracy {accuracy:.3f}")
        yield {"accuracy": accuracy}, saver(network, epoch + 1)


def load(config: dict[str, Any]) -> tuple[MLPClassifier, int]:
    """Return the network of the newest checkpoint and its epoch, or a new network."""
    saved = tuneflow.checkpoint()
    if saved is not None:
        # A file of our own, in a format of our choice: tuneflow stores it and never opens it.
        network, epoch = joblib.load(saved / "network.joblib")
        return network, epoch
    network = MLPClassifier(
        hidden_layer_sizes=(config["width"],) * config["depth"],
        alpha=config["alpha"],
        batch_size=config["batch_size"],
        learning_rate_init=config["learning_rate"],
        random_state=0,
    )
    return network, 0


def saver(network: MLPClassifier, epoch: int) -> Callable[[Path], Any]:
    """Return what saves the network in a folder, if a checkpoint is wanted."""
    return lambda folder: joblib.dump((network, epoch), folder / "network.joblib")


def main() -> None:
    """Run one of the flows, or serve both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--scheduler", choices=["hyperband", "asha"], default="hyperband")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--dask", metavar="ADDRESS", help="run trials on this Dask cluster")
    parser.add_argument("--serve", action="store_true", help="run both flows every Monday")
    options = parser.parse_args()
    if options.serve:
        serve(
            tune_digits.to_deployment("weekly", cron="0 3 * * 1"),
            tune_digits_asha.to_deployment("weekly", cron="0 5 * * 1"),
        )
        return
    flow = tune_digits if options.scheduler == "hyperband" else tune_digits_asha
    if options.dask:
        from prefect_dask import DaskTaskRunner

        flow = flow.with_options(task_runner=DaskTaskRunner(address=options.dask))
    best = flow(trials=options.trials)
    print(f"{best['config']} has an accuracy of {best['value']:.3f}; see {best['study']}")


if __name__ == "__main__":
    main()
