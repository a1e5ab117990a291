"""A Gaussian process that forgets, and the point that it would try next.

The model of PB2: Parker-Holder, Nguyen, Roberts: Provably Efficient Online Hyperparameter
Optimization with Population-Based Bandits, NeurIPS 2020, sections 3 and 4. It needs numpy, and so
is imported only when it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"

Snap: TypeAlias = Callable[[Array], Array]
"""Moves rows of numbers in [0, 1) to the nearest that stand for values."""

EPSILON: Final = 0.1
"""How much is forgotten in one interval, as in the paper's experiments."""

_LENGTHS: Final = (0.03, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Length scales to choose from; the reference allows none above 1."""

_NOISES: Final = (0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.95)
"""Shares of the variance that may be noise."""

_CLIP: Final = 2.0
"""No observation counts as further from the mean, in standard deviations."""

_DRAWS: Final = 512
"""Points that are drawn from the whole space."""

_ROUNDS: Final = 4
"""How often points are then drawn around the best one, each time half as far away."""

_NEARBY: Final = 96
"""How many of them."""


@dataclass(frozen=True)
class Points:
    """Where something was tried, or is to be.

    Attributes:
        times: when, in intervals.
        places: one row each: the state before, and the hyperparameters in [0, 1].
    """

    times: Array
    places: Array

    def __len__(self) -> int:
        return len(self.times)

    def with_more(self, other: Points) -> Points:
        """Return these points and others."""
        return Points(
            np.concatenate([self.times, other.times]), np.vstack([self.places, other.places])
        )


def kernel(some: Points, others: Points, length: float, epsilon: float = EPSILON) -> Array:
    """Return ``exp(-d**2 / length) * (1 - epsilon)**(|dt| / 2)`` for each pair of points."""
    differences = some.places[:, None, :] - others.places[None, :, :]
    near: Array = np.exp(-np.sum(differences**2, axis=2) / length)
    apart = np.abs(some.times[:, None] - others.times[None, :])
    recent: Array = (1 - epsilon) ** (apart / 2)
    return near * recent


def standardised(values: Array) -> Array:
    """Return values with mean 0 and standard deviation 1, clipped; zeros when all are equal."""
    # Squares of very large values are infinite. Dividing by a power of two rounds nothing.
    _, exponents = np.frexp(values)
    values = np.ldexp(values, -np.max(exponents, initial=0))
    spread = float(np.std(values)) if len(values) else 0.0
    if spread == 0:
        return np.zeros(len(values))
    scaled: Array = np.clip((values - np.mean(values)) / spread, -_CLIP, _CLIP)
    return scaled


class Bandit:
    """The process, given observations.

    The observations are standardised, so prior variance and noise are shares of 1. Length scale
    and noise are those under which they are most likely.

    Args:
        tried: where.
        values: what came of it.
    """

    def __init__(self, tried: Points, values: Array) -> None:
        self._tried = tried
        self._values = standardised(values)
        self.length, self.noise = _LENGTHS[-1], _NOISES[0]
        if np.any(self._values):
            likely = [
                (likelihood, length, noise)
                for length in _LENGTHS
                for noise, likelihood in zip(_NOISES, self.log_likelihoods(length), strict=True)
            ]
            _, self.length, self.noise = max(likely)

    def log_likelihoods(self, length: float, noises: Sequence[float] = _NOISES) -> list[float]:
        """Return how likely the observations are under each share of noise, but for a constant.

        One decomposition serves all of them.
        """
        eigenvalues, vectors = np.linalg.eigh(kernel(self._tried, self._tried, length))
        turned = vectors.T @ self._values
        found = []
        for noise in noises:
            spectrum = (1 - noise) * np.maximum(eigenvalues, 0.0) + noise
            found.append(-0.5 * float(np.sum(turned**2 / spectrum + np.log(spectrum))))
        return found

    def mean(self, points: Points) -> Array:
        """Return what is expected at some points, in standard deviations of the observations."""
        if not len(self._tried):
            return np.zeros(len(points))
        weights = np.linalg.solve(self._covariance(self._tried), self._values)
        expected: Array = self._signal(points, self._tried) @ weights
        return expected

    def deviation(self, points: Points, pending: Points) -> Array:
        """Return how uncertain that is, once what is pending is known, whatever its outcome."""
        known = self._tried.with_more(pending)
        prior = 1 - self.noise
        if not len(known):
            return np.full(len(points), math.sqrt(prior))
        lower = np.linalg.cholesky(self._covariance(known))
        explained = np.linalg.solve(lower, self._signal(known, points))
        left: Array = np.sqrt(np.maximum(prior - np.sum(explained**2, axis=0), 0.0))
        return left

    def upper_bound(self, points: Points, pending: Points) -> Array:
        """Return mean + sqrt(beta) * deviation, with ``beta = 0.2 * log(0.4 * n)``."""
        beta = 0.2 * max(math.log(0.4 * max(len(self._tried), 1)), 0.0)
        bound: Array = self.mean(points) + math.sqrt(beta) * self.deviation(points, pending)
        return bound

    def _signal(self, some: Points, others: Points) -> Array:
        return (1 - self.noise) * kernel(some, others, self.length)

    def _covariance(self, points: Points) -> Array:
        covariance: Array = self._signal(points, points) + self.noise * np.eye(len(points))
        return covariance


def maximise(
    bound: Callable[[Array], Array], count: int, draw: Callable[[], float], snap: Snap
) -> Array:
    """Return the row of ``count`` numbers in [0, 1) at which a function is largest.

    Args:
        bound: the function, of many rows at once.
        count: how many numbers a row has.
        draw: draws a number from [0, 1).
        snap: moves rows to where values are.
    """
    drawn = np.array([[draw() for _ in range(count)] for _ in range(_DRAWS)])
    best = _best(bound, snap(drawn))
    for attempt in range(_ROUNDS):
        reach = 0.2 / 2**attempt
        drawn = np.array([[draw() for _ in range(count)] for _ in range(_NEARBY)])
        nearby = np.clip(best + reach * (2 * drawn - 1), 0.0, np.nextafter(1.0, 0.0))
        best = _best(bound, np.vstack([best, snap(nearby)]))
    return best


def _best(bound: Callable[[Array], Array], rows: Array) -> Array:
    best: Array = rows[int(np.argmax(bound(rows)))]
    return best
