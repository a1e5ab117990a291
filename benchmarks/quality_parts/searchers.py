"""Every searcher on equal terms: 40 trials to the end, and under ASHA where it is quick enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.quality_parts import ours
from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.record import Incumbents
from benchmarks.quality_parts.setting import Setting
from tuneflow.plugins import make
from tuneflow.schedulers import ASHA, FIFO, Scheduler
from tuneflow.searchers import Searcher

TRIALS = 40

QUICK: dict[str, dict[str, Any]] = {
    "random": {"type": "random"},
    "sobol": {"type": "sobol"},
    "tpe": {"type": "tpe"},
    "cmaes": {"type": "optuna", "sampler": "cmaes"},
    "bohb": {"type": "bohb"},
    "hyperopt": {"type": "hyperopt"},
    "nevergrad": {"type": "nevergrad", "num_workers": 8},
    "cfo": {"type": "cfo"},
    "blendsearch": {"type": "blendsearch"},
}
"""Searchers that propose in milliseconds."""

SLOW: dict[str, dict[str, Any]] = {
    "gp": {"type": "optuna", "sampler": "gp"},
    "skopt": {"type": "skopt"},
    "bayesopt": {"type": "bayesopt"},
    "smac": {"type": "smac"},
    "ax": {"type": "ax"},
}
"""Searchers that fit a model for each proposal."""


def _made(spec: dict[str, Any]) -> Callable[[Problem], Searcher]:
    def made(_: Problem) -> Searcher:
        searcher: Searcher = make("searcher", spec)
        return searcher

    return made


def _to_the_end(problem: Problem) -> Scheduler:
    return FIFO(max_resource=problem.resource)


def _asha(problem: Problem) -> Scheduler:
    return ASHA(max_resource=problem.resource, reduction_factor=3)


def _algorithms() -> dict[str, ours.Algorithm]:
    specs = {**QUICK, **SLOW}
    found = {name: ours.Algorithm(_to_the_end, _made(spec), TRIALS) for name, spec in specs.items()}
    for name, spec in QUICK.items():
        found[f"asha+{name}"] = ours.Algorithm(_asha, _made(spec))
    return found


ALGORITHMS = _algorithms()


def run(name: str, problem: Problem, seed: int, setting: Setting) -> tuple[Incumbents, int]:
    """Run a searcher; return its incumbents and how many trials it began."""
    return ours.study_run(name, ALGORITHMS[name], problem, seed, setting)
