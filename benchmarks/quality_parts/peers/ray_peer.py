"""Ray Tune's scheduler classes, called back as its TuneController calls them.

Ray's schedulers come without a searcher: the configurations are the ones that tuneflow's random
search draws for the same seed. One trial is pending at a time, as with one of Ray's search
algorithms, except under PBT, which is given its whole population.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune import lograndint, loguniform, randint, uniform
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.schedulers.pb2 import PB2

from benchmarks.quality_parts.cluster import Order, Peer
from benchmarks.quality_parts.problems import Axis, Problem
from benchmarks.quality_parts.setting import Setting
from tuneflow.rng import generator
from tuneflow.searchers.base import sampled

POPULATION = 64


class _Trial:
    """What Ray's schedulers ask of a trial."""

    is_saving = False
    local_experiment_path = ""

    def __init__(self, number: int, config: dict[str, Any]) -> None:
        self.number = number
        self.order: int | None = None
        self.trial_id = str(number)
        self.config = config
        self.status = Trial.PENDING
        self.last_result: dict[str, Any] = {}
        self.evaluated_params: dict[str, Any] = {}
        self.experiment_tag = ""
        self.checkpoint: int | None = None
        self.temporary_state = SimpleNamespace(saving_to=None)
        manager = SimpleNamespace(
            checkpoint_config=SimpleNamespace(num_to_keep=None), _latest_checkpoint_result=None
        )
        self.run_metadata = SimpleNamespace(checkpoint_manager=manager)

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def exploited(self) -> Any:
        """Return the checkpoint that this trial was given by another one, once."""
        manager = self.run_metadata.checkpoint_manager
        found, manager._latest_checkpoint_result = manager._latest_checkpoint_result, None
        return found


class RayPeer(Peer):
    """A scheduler of Ray Tune; this object stands for its controller as well."""

    search_alg = None

    def __init__(
        self, scheduler: Any, problem: Problem, seed: int, *, population: int | None = None
    ) -> None:
        scheduler.set_search_properties("loss", "min")
        self._scheduler = scheduler
        self._problem, self._seed = problem, seed
        self._limit = population
        self._trials: list[_Trial] = []
        self._live: dict[int, _Trial] = {}
        self._begun: list[_Trial] = []
        for _ in range(population or 0):
            self._add()

    # What the simulated cluster calls.

    def ask(self) -> Order | None:
        """Return the trial that the scheduler chooses; a new one if it has none."""
        trial = self._scheduler.choose_trial_to_run(self)
        if trial is None and (self._limit is None or len(self._trials) < self._limit):
            self._add()
            trial = self._scheduler.choose_trial_to_run(self)
        if trial is None:
            return None
        is_new, trial.status = trial.status == Trial.PENDING, Trial.RUNNING
        given = trial.exploited()
        if given is not None:
            return Order(self._number(trial), trial.config, given.checkpoint)
        return Order(self._number(trial), trial.config if is_new else None)

    def report(self, trial: int, level: int, value: float) -> bool:
        """Ask the scheduler what becomes of the trial, unless it has come to its end."""
        known = self._begun[trial]
        result = {"loss": value, "training_iteration": level}
        if level >= self._problem.resource and not isinstance(self._scheduler, HyperBandScheduler):
            known.last_result = result
            return True
        decision = self._scheduler.on_trial_result(self, known, result)
        known.last_result = result
        if decision == TrialScheduler.STOP:
            self.stop_trial(known)
        elif decision == TrialScheduler.PAUSE:
            known.status = Trial.PAUSED
        return bool(known.status == Trial.RUNNING)

    def complete(self, trial: int) -> None:
        """End the trial, unless it waits for its bracket."""
        if self._begun[trial].status == Trial.RUNNING:
            self.stop_trial(self._begun[trial])

    def failed(self, trial: int) -> None:
        """Tell the scheduler of the error."""
        known = self._begun[trial]
        self._end(known, Trial.ERROR)
        self._scheduler.on_trial_error(self, known)

    # What the scheduler calls.

    def get_trials(self) -> list[_Trial]:
        """Return the trials that are not over."""
        return list(self._live.values())

    def get_live_trials(self) -> Iterable[_Trial]:
        """Return the trials that are not over."""
        return set(self._live.values())

    def stop_trial(self, trial: _Trial) -> None:
        """End a trial, and tell the scheduler as Ray's controller does."""
        if trial.is_finished():
            return
        if trial.status == Trial.RUNNING:
            self._scheduler.on_trial_complete(self, trial, trial.last_result)
        else:
            self._scheduler.on_trial_remove(self, trial)
        self._end(trial, Trial.TERMINATED)

    def pause_trial(self, trial: _Trial, should_checkpoint: bool = True) -> None:
        """Pause a trial."""
        trial.status = Trial.PAUSED

    def _schedule_trial_save(self, trial: _Trial, result: dict[str, Any]) -> int:
        """Save a checkpoint; here that is the level that it was made at."""
        return int(result["training_iteration"])

    # The rest.

    def _add(self) -> None:
        number = len(self._trials)
        rng = generator(self._seed, "suggest", number)
        trial = _Trial(number, self._problem.space.build(sampled(rng)))
        self._trials.append(trial)
        self._live[number] = trial
        self._scheduler.on_trial_add(self, trial)

    def _end(self, trial: _Trial, status: str) -> None:
        trial.status = status
        self._live.pop(trial.number, None)

    def _number(self, trial: _Trial) -> int:
        """Return the cluster's number of a trial: they are numbered as they begin."""
        if trial.order is None:
            trial.order = len(self._begun)
            self._begun.append(trial)
        return trial.order


def _axis(axis: Axis) -> Any:
    if axis.integer:
        make: Any = lograndint if axis.log else randint
        return make(int(axis.low), int(axis.high) + 1)
    return (loguniform if axis.log else uniform)(axis.low, axis.high)


def _asha(problem: Problem, seed: int, **settings: Any) -> Peer:
    scheduler = AsyncHyperBandScheduler(max_t=problem.resource, **settings)
    return RayPeer(scheduler, problem, seed)


def _hyperband(problem: Problem, seed: int) -> Peer:
    return RayPeer(HyperBandScheduler(max_t=problem.resource), problem, seed)


def _median(problem: Problem, seed: int, **settings: Any) -> Peer:
    scheduler = MedianStoppingRule(time_attr="training_iteration", **settings)
    return RayPeer(scheduler, problem, seed)


def _pbt(problem: Problem, seed: int, **settings: Any) -> Peer:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=problem.resource // 9,
        hyperparam_mutations={axis.name: _axis(axis) for axis in problem.axes},
        log_config=False,
        **settings,
    )
    return RayPeer(scheduler, problem, seed, population=POPULATION)


def _pb2(problem: Problem, seed: int) -> Peer:
    scheduler = PB2(
        time_attr="training_iteration",
        perturbation_interval=problem.resource // 9,
        hyperparam_bounds={axis.name: [axis.low, axis.high] for axis in problem.axes},
        log_config=False,
    )
    return RayPeer(scheduler, problem, seed, population=POPULATION)


def _peer(make: Callable[..., Peer], **settings: Any) -> Callable[[Problem, int, Setting], Peer]:
    def made(problem: Problem, seed: int, _: Setting) -> Peer:
        random.seed(seed)
        np.random.seed(seed)
        return make(problem, seed, **settings)

    return made


ALGORITHMS: dict[str, Callable[[Problem, int, Setting], Peer]] = {
    "asha (default)": _peer(_asha),
    "asha (best)": _peer(_asha, reduction_factor=3),
    "hyperband": _peer(_hyperband),
    "median (default)": _peer(_median),
    "median (best)": _peer(_median, grace_period=1),
    "pbt": _peer(_pbt),
    "pb2": _peer(_pb2),
}
