"""Data that drifts in code, and a small network that is trained on it.

The images are scikit-learn's handwritten digits under noise that gets another strength every
week. The network is trained on clean images that are made noisy, so how much noise suits it best
moves from week to week, and learning rate and weight decay move with it. An epoch takes some
milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tuneflow.space import Float, Space

EPOCHS = 27
"""How long a network is trained at most."""

SPACE = Space(
    {
        "lr": Float(1e-5, 100.0, log=True),
        "momentum": Float(0.0, 0.99),
        "decay": Float(1e-8, 10.0, log=True),
        "noise": Float(1e-3, 30.0, log=True),
    }
)
"""What is tuned."""

Array = NDArray[np.float64]
_BATCH = 32
_WIDTH = 32


@dataclass(frozen=True)
class Digits:
    """Images with their labels, one row each: clean ones to train on, noisy ones to validate."""

    train: Array
    train_labels: NDArray[np.int64]
    valid: Array
    valid_labels: NDArray[np.int64]


@cache
def drifting_digits(week: int, seed: int = 0) -> Digits:
    """Return the digits as they look in a week.

    Args:
        week: 0, 1, 2 …; the noise of what is validated gets a little stronger every week.
        seed: the noise itself, and who is in which part, follow from it.
    """
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng([seed, week])
    strength = 0.5 + 0.3 * math.sin(week / 6)
    order = rng.permutation(len(labels))
    clean, labels = images[order] / 16 - 0.5, labels[order]
    noisy = clean[800:] + rng.normal(0, strength, clean[800:].shape)
    return Digits(clean[:800], labels[:800], noisy, labels[800:])


def training(week: int) -> Callable[[dict[str, Any]], Iterator[dict[str, float]]]:
    """Return the objective of a week: it yields the validation loss after each epoch.

    Its configuration has a ``seed``, from which the weights, the order and the noise follow.
    """

    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        data = drifting_digits(week)
        network = Network(config)
        for _ in range(EPOCHS):
            # What diverges reports NaN; that is no reason to warn anybody.
            with np.errstate(all="ignore"):
                network.epoch(data.train, data.train_labels)
                judged = network.judged(data.valid, data.valid_labels)
            yield judged

    return train


class Network:
    """One hidden layer, trained with momentum and weight decay on images that are made noisy."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._lr, self._momentum = config["lr"], config["momentum"]
        self._decay, self._noise = config["decay"], config["noise"]
        self._rng = np.random.default_rng(config["seed"])
        sizes = [(64, _WIDTH), (_WIDTH, 10)]
        self._weights = [self._rng.normal(0, 1 / math.sqrt(size[0]), size) for size in sizes]
        self._speeds = [np.zeros(size) for size in sizes]

    def epoch(self, images: Array, labels: NDArray[np.int64]) -> None:
        """Go through the images once."""
        order = self._rng.permutation(len(labels))
        noisy = images + self._rng.normal(0, self._noise, images.shape)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            self._step(noisy[batch], labels[batch])

    def _step(self, images: Array, labels: NDArray[np.int64]) -> None:
        hidden = np.maximum(images @ self._weights[0], 0)
        error = _softmax(hidden @ self._weights[1])
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        back = error @ self._weights[1].T * (hidden > 0)
        slopes = (images.T @ back, hidden.T @ error)
        for layer, slope in enumerate(slopes):
            pull = self._lr * (1 - self._momentum) * (slope + self._decay * self._weights[layer])
            self._speeds[layer] = self._momentum * self._speeds[layer] - pull
            self._weights[layer] += self._speeds[layer]

    def judged(self, images: Array, labels: NDArray[np.int64]) -> dict[str, float]:
        """Return loss and accuracy on images that it has not seen."""
        shares = _softmax(np.maximum(images @ self._weights[0], 0) @ self._weights[1])
        right = shares[np.arange(len(labels)), labels]
        accuracy = float((shares.argmax(axis=1) == labels).mean())
        return {"loss": float(-np.log(np.maximum(right, 1e-9)).mean()), "accuracy": accuracy}


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
