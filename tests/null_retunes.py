"""Retunes in which no challenger is better than the champion, so that none should be promoted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any
from uuid import uuid4

from scipy.stats import binom

from tuneflow.retune.local import retune
from tuneflow.rng import generator
from tuneflow.schedulers import FIFO
from tuneflow.searchers import Random
from tuneflow.space import Float

SPACE = {"x": Float(0.0, 1.0)}
BEST = {"x": 0.0}
"""The champion."""

Objective = Callable[[dict[str, Any]], Iterator[dict[str, float]]]


def noisy(worse: float) -> Objective:
    """Return an objective that is noise of standard deviation 1, drawn anew for each seed.

    Args:
        worse: how much worse all other configurations are than the champion; 0 or more.
    """

    def train(config: dict[str, Any]) -> Iterator[dict[str, float]]:
        draw = generator(config["seed"], repr(config["x"])).random()
        yield {"loss": NormalDist().inv_cdf(draw) + worse * (config["x"] != BEST["x"])}

    return train


def promotions(
    numbers: range, *, confidence: float = 0.95, worse: float = 0.0, test: str = "t"
) -> int:
    """Return how many of these retunes promote a challenger, each in a line of its own."""
    return sum(_promotes(number, noisy(worse), confidence, test) for number in numbers)


def _promotes(number: int, noise: Objective, confidence: float, test: str) -> bool:
    line = f"memory://{uuid4().hex}"
    common: dict[str, Any] = {
        "space": SPACE,
        "metric": "loss",
        "mode": "min",
        "name": "line",
        "storage": line,
        "scheduler": FIFO(max_resource=1),
        "seed": number,
        "confidence": confidence,
        "test": test,
        "progress": False,
    }
    first = Random(points_to_evaluate=(BEST,))
    retune(noisy(0.0), **common, searcher=first, trials=1, run="first")
    return retune(noise, **common, searcher=Random(), trials=4, run="null").promoted


def most_allowed(retunes: int, confidence: float) -> int:
    """Return how many promotions chance explains: more have a probability below 1 %."""
    return int(binom.ppf(0.99, retunes, 1 - confidence))
