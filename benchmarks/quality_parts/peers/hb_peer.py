"""HpBandSter alone: its iterations and its generators, without its Pyro name server.

The loop is that of its master: runs of the oldest iterations first, and a new iteration when
none has one. A configuration that advances goes on from where it paused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hpbandster.core.dispatcher import Job
from hpbandster.optimizers.config_generators.bohb import BOHB
from hpbandster.optimizers.config_generators.random_sampling import RandomSampling
from hpbandster.optimizers.iterations import SuccessiveHalving

from benchmarks.quality_parts.cluster import Order, Peer
from benchmarks.quality_parts.peers.config_space import config_space
from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.setting import Setting


class HpBandSterPeer(Peer):
    """HpBandSter's loop around one of its generators.

    Attributes:
        model_picks: how many configurations came from a model.
    """

    def __init__(self, generator: Any, problem: Problem) -> None:
        self._generator = generator
        self._levels = problem.levels
        self._iterations: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._running: dict[int, tuple[Any, Any, int]] = {}
        self.model_picks = 0

    def ask(self) -> Order:
        """Return the next run of the oldest iteration that has one."""
        while True:
            for position, iteration in enumerate(self._iterations):
                run = iteration.get_next_run()
                if run is not None:
                    return self._order(position, run)
            self._iterations = [i for i in self._iterations if not i.is_finished]
            self._iterations.append(self._iteration())

    def _iteration(self) -> Any:
        """Return the next iteration, with the sizes of HpBandSter's get_next_iteration."""
        number, rungs = self._begun, len(self._levels)
        self._begun += 1
        s = rungs - 1 - number % rungs
        first = rungs // (s + 1) * 3**s
        sizes = [max(first // 3**i, 1) for i in range(s + 1)]
        return SuccessiveHalving(number, sizes, self._levels[-s - 1 :], self._sample)

    _begun = 0

    def _sample(self, budget: int) -> tuple[Any, Any]:
        config, info = self._generator.get_config(budget)
        self.model_picks += bool(info.get("model_based_pick"))
        return config, info

    def _order(self, position: int, run: tuple[Any, Any, int]) -> Order:
        key, config, budget = run
        is_new = key not in self._numbers
        number = self._numbers.setdefault(key, len(self._numbers))
        job = Job(key, config=config, budget=budget)
        self._running[number] = (self._iterations[position], job, budget)
        return Order(number, dict(config) if is_new else None)

    def report(self, trial: int, level: int, value: float) -> bool:
        """Register the result at the budget, where the trial pauses."""
        if level < self._running[trial][2]:
            return True
        self._register(trial, {"loss": value} if math.isfinite(value) else None)
        return False

    def failed(self, trial: int) -> None:
        """Register a crash."""
        self._register(trial, None)

    def _register(self, trial: int, result: dict[str, float] | None) -> None:
        iteration, job, _ = self._running.pop(trial)
        job.result = result
        iteration.register_result(job)
        self._generator.new_result(job)


def _bohb(problem: Problem, seed: int, _: Setting) -> Peer:
    np.random.seed(seed)
    generator = BOHB(
        config_space(problem, seed),
        min_points_in_model=None,
        top_n_percent=15,
        num_samples=64,
        random_fraction=1 / 3,
        bandwidth_factor=3,
        min_bandwidth=1e-3,
    )
    return HpBandSterPeer(generator, problem)


def _hyperband(problem: Problem, seed: int, _: Setting) -> Peer:
    np.random.seed(seed)
    return HpBandSterPeer(RandomSampling(config_space(problem, seed)), problem)


ALGORITHMS: dict[str, Callable[[Problem, int, Setting], Peer]] = {
    "bohb": _bohb,
    "hyperband": _hyperband,
}
