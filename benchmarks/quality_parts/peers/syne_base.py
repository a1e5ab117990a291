"""What drives the schedulers of Syne Tune, in any of its versions, as its Tuner does."""

from __future__ import annotations

import datetime
import inspect
from typing import Any

from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import lograndint, loguniform, randint, uniform

from benchmarks.quality_parts.cluster import Order, Peer
from benchmarks.quality_parts.problems import Problem

_BEGAN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class SynePeer(Peer):
    """A scheduler of Syne Tune with its own searcher."""

    def __init__(self, scheduler: Any, problem: Problem) -> None:
        self._scheduler = scheduler
        self._problem = problem
        self._wants_number = "trial_id" in inspect.signature(scheduler.suggest).parameters
        self._trials: list[Any] = []
        self._results: list[dict[str, Any]] = []
        self._over: set[int] = set()

    def ask(self) -> Order | None:
        """Return the scheduler's suggestion."""
        number = len(self._trials)
        found = self._scheduler.suggest(*([number] if self._wants_number else []))
        if found is None:
            return None
        donor = found.checkpoint_trial_id
        if not found.spawn_new_trial_id:
            self._over.discard(int(donor))
            return Order(int(donor), found.config)
        start = None if donor is None else int(self._results[int(donor)].get("epoch", 0))
        config = dict(found.config) if found.config else self._trials[int(donor)].config
        trial = Trial(number, config, _BEGAN)
        self._trials.append(trial)
        self._results.append({})
        self._scheduler.on_trial_add(trial)
        return Order(number, config, start)

    def report(self, trial: int, level: int, value: float) -> bool:
        """Ask the scheduler whether the trial goes on."""
        known = self._trials[trial]
        cost = level * self._problem.cost(known.config)
        result = {"loss": value, "epoch": level, "cost": cost}
        self._results[trial] = result
        if self._scheduler.on_trial_result(known, result) == "CONTINUE":
            return True
        self._over.add(trial)
        self._scheduler.on_trial_remove(known)
        return False

    def complete(self, trial: int) -> None:
        """Tell the scheduler, unless it has stopped the trial itself."""
        if trial not in self._over:
            self._scheduler.on_trial_complete(self._trials[trial], self._results[trial])

    def failed(self, trial: int) -> None:
        """Tell the scheduler of the error."""
        self._scheduler.on_trial_error(self._trials[trial])


def space(problem: Problem) -> dict[str, Any]:
    """Return the axes as Syne Tune's domains."""
    found: dict[str, Any] = {}
    for axis in problem.axes:
        if axis.integer:
            make: Any = lograndint if axis.log else randint
            found[axis.name] = make(int(axis.low), int(axis.high))
        else:
            found[axis.name] = (loguniform if axis.log else uniform)(axis.low, axis.high)
    return found
