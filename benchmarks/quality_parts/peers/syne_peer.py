"""The schedulers of Syne Tune 0.16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from syne_tune.optimizer.baselines import ASHA, BOHB, RandomSearch
from syne_tune.optimizer.schedulers.median_stopping_rule import MedianStoppingRule
from syne_tune.optimizer.schedulers.pbt import PopulationBasedTraining

from benchmarks.quality_parts.cluster import Peer
from benchmarks.quality_parts.peers.syne_base import SynePeer, space
from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.setting import Setting


def _random(problem: Problem, seed: int) -> Any:
    return RandomSearch(space(problem), metrics=["loss"], random_seed=seed)


def _asha(problem: Problem, seed: int, **settings: Any) -> Any:
    return ASHA(
        space(problem),
        metric="loss",
        time_attr="epoch",
        max_t=problem.resource,
        random_seed=seed,
        **settings,
    )


def _bohb(problem: Problem, seed: int, **settings: Any) -> Any:
    return BOHB(
        space(problem),
        metric="loss",
        time_attr="epoch",
        max_t=problem.resource,
        random_seed=seed,
        **settings,
    )


def _median(problem: Problem, seed: int, **settings: Any) -> Any:
    inner = _random(problem, seed)
    inner.metric = "loss"
    return MedianStoppingRule(inner, time_attr="epoch", metric="loss", random_seed=seed, **settings)


def _pbt(problem: Problem, seed: int, **settings: Any) -> Any:
    return PopulationBasedTraining(
        space(problem),
        metric="loss",
        time_attr="epoch",
        max_t=problem.resource,
        population_size=8,
        perturbation_interval=problem.resource // 9,
        random_seed=seed,
        **settings,
    )


def _peer(make: Callable[..., Any], **settings: Any) -> Callable[[Problem, int, Setting], Peer]:
    def made(problem: Problem, seed: int, _: Setting) -> Peer:
        np.random.seed(seed)
        return SynePeer(make(problem, seed, **settings), problem)

    return made


ALGORITHMS: dict[str, Callable[[Problem, int, Setting], Peer]] = {
    "random": _peer(_random),
    "asha": _peer(_asha),
    "bohb": _peer(_bohb),
    "median": _peer(_median),
    "pbt": _peer(_pbt),
}
