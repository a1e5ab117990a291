"""Train a small neural network on handwritten digits whose scanner gets worse and is cleaned again.

The data of a day are made up from scikit-learn's: the noise grows from week to week and falls back
every fifth, so that what trained best a month ago need not do so today. The text of this file
travels to the Dask workers; ``python train_scanned_digits.py`` trains a single network.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import tuneflow

EPOCHS = 9


def train(config: dict[str, Any]) -> None:
    """Train a network epoch by epoch and report its validation accuracy after each.

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
        tuneflow.report(
            accuracy=network.score(x_valid, y_valid),
            resource=epoch + 1,
            checkpoint=lambda folder, done=(network, epoch + 1): joblib.dump(
                done, folder / "network.joblib"
            ),
        )


def scanned(day: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as the scanner saw them on a day, and what they are."""
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


if __name__ == "__main__":
    train(
        {"day": "2026-11-24", "seed": 0, "width": 64, "alpha": 1e-4, "learning_rate": 1e-3},
    )
