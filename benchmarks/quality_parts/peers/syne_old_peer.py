"""The schedulers of Syne Tune 0.13 that later versions have no more."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from syne_tune.optimizer.baselines import ASHA, DEHB, PASHA, SyncHyperband

from benchmarks.quality_parts.cluster import Peer
from benchmarks.quality_parts.peers.syne_base import SynePeer, space
from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.setting import Setting


def _peer(kind: Callable[..., Any], **settings: Any) -> Callable[[Problem, int, Setting], Peer]:
    def made(problem: Problem, seed: int, _: Setting) -> Peer:
        random.seed(seed)
        np.random.seed(seed)
        scheduler = kind(
            {**space(problem), "epochs": problem.resource},
            metric="loss",
            mode="min",
            resource_attr="epoch",
            max_resource_attr="epochs",
            grace_period=1,
            reduction_factor=3,
            random_seed=seed,
            **settings,
        )
        return SynePeer(scheduler, problem)

    return made


ALGORITHMS: dict[str, Callable[[Problem, int, Setting], Peer]] = {
    "asha promotion": _peer(ASHA, type="promotion"),
    "cost promotion": _peer(ASHA, type="cost_promotion", cost_attr="cost"),
    "pasha": _peer(PASHA),
    "hyperband": _peer(SyncHyperband),
    "dehb": _peer(DEHB),
}
