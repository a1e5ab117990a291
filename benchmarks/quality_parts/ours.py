"""The algorithms of tuneflow, each a study on the simulated cluster. One line adds one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.record import Incumbents
from benchmarks.quality_parts.setting import Setting
from tuneflow import stream
from tuneflow.budget import Budget
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.job import Job
from tuneflow.journal import Journal
from tuneflow.objective.python import PythonObjective
from tuneflow.opened import OpenStudy
from tuneflow.schedulers import (
    ASHA,
    FIFO,
    PBT,
    Hyperband,
    MedianStopping,
    Scheduler,
    SuccessiveHalving,
)
from tuneflow.schedulers.bohb import BOHB
from tuneflow.schedulers.cost_asha import CostASHA
from tuneflow.schedulers.dehb import DEHB
from tuneflow.schedulers.pasha import PASHA
from tuneflow.schedulers.pb2 import PB2
from tuneflow.searchers import TPE, Optuna, Random, Searcher, Sobol, bohb, dehb
from tuneflow.store import Store
from tuneflow.study import Study
from tuneflow.trial import Params, Resource

ENDLESS = 1_000_000
"""More trials than there is time for: some schedulers would end after one cycle."""

POPULATION = 64
"""How many members PBT has: with 8 workers they take most of the time."""


@dataclass(frozen=True)
class Algorithm:
    """A scheduler and a searcher.

    Attributes:
        scheduler: made for a problem.
        searcher: made for a problem.
        trials: how many trials there are at most; None leaves the end to the time.
    """

    scheduler: Callable[[Problem], Scheduler]
    searcher: Callable[[Problem], Searcher] = lambda _: Random()
    trials: int | None = None


def _full(problem: Problem) -> Scheduler:
    return FIFO(max_resource=problem.resource)


def _asha(problem: Problem) -> Scheduler:
    return ASHA(max_resource=problem.resource, reduction_factor=3)


def _population(kind: Callable[..., Scheduler], **settings: Any) -> Callable[[Problem], Scheduler]:
    return lambda problem: kind(
        max_resource=problem.resource, interval=problem.resource // 9, **settings
    )


def _one_unit_for_all(problem: Problem) -> Scheduler:
    """Return the baseline: half the time for one unit each, half for the best to the end."""
    best = 40
    return SuccessiveHalving(
        max_resource=problem.resource,
        reduction_factor=problem.resource,
        n_trials=best * problem.resource,
    )


ALGORITHMS: dict[str, Algorithm] = {
    "random": Algorithm(_full),
    "baseline": Algorithm(_one_unit_for_all, trials=ENDLESS),
    "asha": Algorithm(_asha),
    "asha_stopping": Algorithm(
        lambda p: ASHA(max_resource=p.resource, reduction_factor=3, variant="stopping")
    ),
    "asha_grace": Algorithm(
        lambda p: ASHA(max_resource=p.resource, min_resource=p.resource // 9, reduction_factor=3)
    ),
    "successive_halving": Algorithm(
        lambda p: SuccessiveHalving(max_resource=p.resource), trials=ENDLESS
    ),
    "hyperband": Algorithm(lambda p: Hyperband(max_resource=p.resource), trials=ENDLESS),
    "median": Algorithm(lambda p: MedianStopping(max_resource=p.resource)),
    "pbt": Algorithm(_population(PBT), trials=POPULATION),
    "pb2": Algorithm(_population(PB2), trials=POPULATION),
    "sobol": Algorithm(_full, lambda _: Sobol()),
    "tpe": Algorithm(_full, lambda _: TPE()),
    "cmaes": Algorithm(_full, lambda _: Optuna(sampler="cmaes")),
    "asha+tpe": Algorithm(_asha, lambda _: TPE()),
    "median+tpe": Algorithm(lambda p: MedianStopping(max_resource=p.resource), lambda _: TPE()),
    "hyperband+tpe": Algorithm(
        lambda p: Hyperband(max_resource=p.resource), lambda _: TPE(), trials=ENDLESS
    ),
    "bohb": Algorithm(
        lambda p: BOHB(max_resource=p.resource), lambda _: bohb.BOHB(), trials=ENDLESS
    ),
    "dehb": Algorithm(
        lambda p: DEHB(max_resource=p.resource), lambda _: dehb.DEHB(), trials=ENDLESS
    ),
    "pasha": Algorithm(lambda p: PASHA(max_resource=p.resource)),
    "cost_asha": Algorithm(lambda p: CostASHA(max_resource=p.resource, cost="cost")),
}


def run(name: str, problem: Problem, seed: int, setting: Setting) -> tuple[Incumbents, int]:
    """Run an algorithm; return its incumbents and how many trials it began."""
    return study_run(name, ALGORITHMS[name], problem, seed, setting)


def study_run(
    name: str, algorithm: Algorithm, problem: Problem, seed: int, setting: Setting
) -> tuple[Incumbents, int]:
    """Drive a study to its end on the simulated cluster."""
    seconds = setting.seconds(problem)
    incumbents = Incumbents(problem, seconds)
    study = Study(
        name=name,
        space=problem.space,
        metric="loss",
        mode="min",
        searcher=algorithm.searcher(problem),
        scheduler=algorithm.scheduler(problem),
        trials=algorithm.trials,
        seed=seed,
        budget=Budget(wall_clock=seconds, max_losses_per_trial=setting.max_losses),
    )
    opened = _opened(study)
    executor = _Watched(
        workers=setting.workers,
        step_time=problem.cost,
        straggler_spread=setting.straggler_spread,
        failure_rate=setting.failure_rate(problem),
        preemption_rate=setting.preemption_rate(problem),
        interruptible=True,
        seed=seed,
    )
    executor.incumbents = incumbents
    executor.open(Job(storage="", metric="loss"), PythonObjective(_curve(problem, seed)))
    study.searcher.prepare()
    study.scheduler.prepare()
    stream.drive(opened, executor)
    return incumbents, len(opened.history.trials)


class _Watched(SimulatedExecutor):
    """A simulated cluster that tells the incumbents of each report."""

    incumbents: Incumbents

    def measure(self, params: Params, resource: Resource) -> dict[str, float]:
        """Return the metrics, and note them."""
        metrics = super().measure(params, resource)
        self.incumbents.note(self.now(), params, resource, metrics["loss"])
        return metrics


def _curve(
    problem: Problem, seed: int
) -> Callable[[Mapping[str, Any], float], Mapping[str, float]]:
    def curve(config: Mapping[str, Any], resource: float) -> Mapping[str, float]:
        cost = resource * problem.cost(config)
        return {"loss": problem.value(config, resource, seed), "cost": cost}

    return curve


def _opened(study: Study) -> OpenStudy:
    store = Store(f"memory://{uuid.uuid4().hex}")
    opened = OpenStudy(study, store, Journal(store), study.history())
    opened.refresh()
    return opened
