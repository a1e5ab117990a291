"""Train a small neural network on scikit-learn's handwritten digits.

The text of this file travels to the Dask workers: they need scikit-learn, but not the file. Airflow
needs neither. Run by itself, ``python train_digits.py`` trains a single network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tuneflow

EPOCHS = 27


def train(config: dict[str, Any]) -> None:
    """Train a network epoch by epoch and report its validation accuracy after each."""
    images, labels = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )
    network, first = load(config)
    for epoch in range(first, EPOCHS):
        network.partial_fit(x_train, y_train, classes=range(10))
        accuracy = network.score(x_valid, y_valid)
        print(f"epoch {epoch + 1}: accuracy {accuracy:.3f}")
        tuneflow.report(accuracy=accuracy, resource=epoch + 1, checkpoint=saver(network, epoch + 1))


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


if __name__ == "__main__":
    train({"width": 64, "depth": 1, "alpha": 1e-4, "batch_size": 64, "learning_rate": 1e-3})
