"""Optuna alone: its samplers and pruners, asked and told by the simulated cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from benchmarks.quality_parts.cluster import Order, Peer
from benchmarks.quality_parts.problems import Axis, Problem
from benchmarks.quality_parts.setting import Setting

optuna.logging.set_verbosity(optuna.logging.ERROR)


class OptunaPeer(Peer):
    """A study that reports every unit and asks its pruner after each."""

    def __init__(self, sampler: Any, pruner: Any, problem: Problem) -> None:
        self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        self._problem = problem
        self._trials: list[Any] = []
        self._value = 0.0

    def ask(self) -> Order:
        """Return a new trial; a pruner never pauses one."""
        trial = self._study.ask()
        config = {axis.name: _suggest(trial, axis) for axis in self._problem.axes}
        self._trials.append(trial)
        return Order(len(self._trials) - 1, config)

    def report(self, trial: int, level: int, value: float) -> bool:
        """Report to the trial; prune it when the pruner says so."""
        asked, self._value = self._trials[trial], value
        asked.report(value, level)
        if level >= self._problem.resource or not asked.should_prune():
            return True
        self._study.tell(asked, state=TrialState.PRUNED)
        return False

    def complete(self, trial: int) -> None:
        """Tell the last value."""
        self._study.tell(self._trials[trial], self._value)

    def failed(self, trial: int) -> None:
        """Tell that the trial failed."""
        self._study.tell(self._trials[trial], state=TrialState.FAIL)


def _suggest(trial: Any, axis: Axis) -> float | int:
    if axis.integer:
        return int(trial.suggest_int(axis.name, int(axis.low), int(axis.high), log=axis.log))
    return float(trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log))


def _with(
    sampler: Callable[[int], Any], pruner: Callable[[Problem], Any]
) -> Callable[[Problem, int, Setting], Peer]:
    return lambda problem, seed, _: OptunaPeer(sampler(seed), pruner(problem), problem)


def _random(seed: int) -> Any:
    return RandomSampler(seed=seed)


def _tpe(seed: int) -> Any:
    return TPESampler(seed=seed)


def _none(_: Problem) -> Any:
    return NopPruner()


def _halving(_: Problem) -> Any:
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


def _hyperband(problem: Problem) -> Any:
    return HyperbandPruner(min_resource=1, max_resource=problem.resource, reduction_factor=3)


ALGORITHMS: dict[str, Callable[[Problem, int, Setting], Peer]] = {
    "random": _with(_random, _none),
    "tpe": _with(_tpe, _none),
    "cmaes": _with(lambda seed: CmaEsSampler(seed=seed), _none),
    "random+halving (default)": _with(_random, lambda _: SuccessiveHalvingPruner()),
    "random+halving (best)": _with(_random, _halving),
    "random+hyperband": _with(_random, _hyperband),
    "random+median": _with(_random, lambda _: MedianPruner()),
    "tpe+median (default)": _with(_tpe, lambda _: MedianPruner()),
    "tpe+halving (best)": _with(_tpe, _halving),
    "tpe+hyperband": _with(_tpe, _hyperband),
}
