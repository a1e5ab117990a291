"""How far a study has come: what its rungs hold, and which share of it is done."""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from tuneflow.events import Launched, Reported
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.schedulers.base import Scheduler
from tuneflow.schedulers.brackets import SynchronousScheduler
from tuneflow.schedulers.dehb import DEHB
from tuneflow.schedulers.levels import exact, ladder
from tuneflow.schedulers.pbt import PBT
from tuneflow.schedulers.resource_changing import ResourceChanging
from tuneflow.schedulers.rungs import AsyncHalving
from tuneflow.study import Study
from tuneflow.trial import Resource, Trial, TrialState


def rung_levels(scheduler: Scheduler) -> list[Resource]:
    """Return the levels at which a scheduler compares trials, lowest first; none for most."""
    scheduler = unwrapped(scheduler)
    if isinstance(scheduler, AsyncHalving | SynchronousScheduler | DEHB):
        return scheduler.levels
    return []


def unwrapped(scheduler: Scheduler) -> Scheduler:
    """Return what decides: a scheduler, or the one that it wraps."""
    return unwrapped(scheduler.base) if isinstance(scheduler, ResourceChanging) else scheduler


@dataclass(slots=True)
class Rung:
    """What has happened at one level.

    Attributes:
        level: the resource level.
        results: how many trials have reported there.
        went_on: how many of them were promoted, or ran on.
        best: the smallest loss there; infinity without a usable one.
    """

    level: Resource
    results: int = 0
    went_on: int = 0
    best: float = math.inf


class Rungs(Index):
    """An index that counts what each rung holds. Make it with `rungs_of`.

    Args:
        levels: the rungs' levels, lowest first.
        loss: turns a report's metrics into a loss.
        pausing: whether a new trial pauses at its first rung; else its bracket says which it is.
    """

    def __init__(
        self,
        levels: list[Resource],
        loss: Callable[[Mapping[str, float]], float],
        *,
        pausing: bool = True,
    ) -> None:
        self.rungs = [Rung(level) for level in levels]
        self._levels = levels
        self._loss = loss
        self._pausing = pausing
        self._next: list[int] = []
        self._left: list[int] = []

    def target(self, trial: int) -> int:
        """Return which rung a trial is on its way to, as a position in ``rungs``."""
        return self._next[trial]

    def launched(self, fact: Launched) -> None:
        """The trial goes on to the next rung, or begins."""
        if fact.trial == len(self._next):
            entry = self._entry(fact)
            self._next.append(entry)
            self._left.append(entry)
        elif fact.until is None or fact.until > self._level_below(fact.trial):
            self._leave(fact.trial)

    def _entry(self, fact: Launched) -> int:
        """Return the rung that a new trial is on its way to."""
        top = max(len(self._levels) - 1, 0)
        if self._pausing and fact.until is not None:
            return min(bisect.bisect_left(self._levels, fact.until), top)
        return min(fact.bracket, top)

    def _level_below(self, trial: int) -> Resource:
        position = self._next[trial]
        return self._levels[position - 1] if position else 0

    def reported(self, fact: Reported) -> None:
        """Count the trial in the rungs that it has reached."""
        level, trial = fact.report.resource, fact.trial
        if level > self._level_below(trial):
            self._leave(trial)
        while self._next[trial] < len(self._levels) and level >= self._levels[self._next[trial]]:
            rung = self.rungs[self._next[trial]]
            self._leave(trial)
            rung.results += 1
            rung.best = min(rung.best, self._loss(fact.report.metrics))
            self._next[trial] += 1

    def _leave(self, trial: int) -> None:
        """Count a trial as gone on from the rung below, once."""
        if self._left[trial] < self._next[trial]:
            self.rungs[self._next[trial] - 1].went_on += 1
            self._left[trial] = self._next[trial]


def rungs_of(study: Study, history: History) -> Rungs:
    """Return the index of a history's rungs; it has none for a scheduler without any."""
    levels, pausing = rung_levels(study.scheduler), study.scheduler.pauses
    return history.index("report.rungs", lambda: Rungs(levels, history.loss, pausing=pausing))


class Best:
    """Keeps the best trial at hand while a history grows.

    `History.best` looks at every trial. This looks at those that changed, and agrees with it.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._heap: list[tuple[tuple[float, ...], int]] = []
        self.update(range(len(history.trials)))

    def update(self, trials: Iterable[int]) -> None:
        """Look again at trials that something has happened to."""
        for number in trials:
            losses = self._losses(self._history.trials[number])
            if losses is not None:
                heapq.heappush(self._heap, (losses, number))

    def get(self) -> Trial | None:
        """Return what `History.best` returns."""
        while self._heap:
            losses, number = self._heap[0]
            trial = self._history.trials[number]
            if losses == self._losses(trial) and trial.state is not TrialState.FAILED:
                return trial
            heapq.heappop(self._heap)
        return None

    def _losses(self, trial: Trial) -> tuple[float, ...] | None:
        """Return a trial's losses, or None when it breaks a bound, or lacks a metric."""
        is_feasible = self._history.trial_violation(trial) == 0
        return self._history.trial_losses(trial) if is_feasible else None


def trial_limit(study: Study) -> int | None:
    """Return how many trials there will be at most, if that is known."""
    limits = (study.trial_limit, study.searcher.trials(study.space))
    return min((limit for limit in limits if limit is not None), default=None)


def share_done(study: Study, history: History) -> float | None:
    """Return which share of a study is done, from 0 to 1; None when nothing says how long it is.

    It is an estimate: how many trials a scheduler will promote is known only in the end.
    """
    if history.state == "finished":
        return 1.0
    budget, shares = study.budget, []
    if budget.wall_clock is not None:
        shares.append(history.elapsed / budget.wall_clock)
    if budget.trial_time is not None:
        shares.append(history.trial_time / budget.trial_time)
    if budget.total_resource is not None:
        shares.append(history.spent / budget.total_resource)
    limit = trial_limit(study)
    if limit is not None:
        shares.append(_share_of_trials(study.scheduler, history, limit))
    return min(max(shares), 0.99) if shares else None


def _share_of_trials(scheduler: Scheduler, history: History, limit: int) -> float:
    planned = planned_resource(scheduler, limit)
    if planned is not None:
        return history.spent / planned
    return _share_begun(history, limit)


def _share_begun(history: History, limit: int) -> float:
    """Return the share of trials that have begun, less what the running ones have before them."""
    running = list(history.running.values())
    begun = len(history.trials) - sum(trial.until is None for trial in running)
    ahead = sum(max(t.until - t.resource, 0) for t in running if t.until is not None)
    return begun / limit * (history.spent / (history.spent + ahead) if ahead else 1.0)


def planned_resource(scheduler: Scheduler, trials: int) -> float | None:
    """Return about how much resource so many trials will take; None when that is not known."""
    scheduler = unwrapped(scheduler)
    if isinstance(scheduler, PBT):
        return trials * scheduler.max_resource
    if isinstance(scheduler, SynchronousScheduler):
        return _cost_of_brackets(scheduler, trials)
    return _cost_of_places(scheduler, trials) if isinstance(scheduler, DEHB) else None


def _cost_of_brackets(scheduler: SynchronousScheduler, trials: int) -> float:
    shapes = scheduler.shapes()
    cycle = sum(shape[0][0] for shape in shapes)
    whole, left = divmod(trials, cycle)
    cost = whole * sum(map(_cost, shapes))
    for shape in shapes:
        taken = min(left, shape[0][0])
        if taken:
            levels = [level for _, level in shape]
            cost += _cost(ladder(taken, levels, scheduler.reduction_factor))
        left -= taken
    return cost


def _cost_of_places(scheduler: DEHB, trials: int) -> float:
    rungs = [rung for shape in scheduler.brackets() for rung in shape]
    whole, left = divmod(trials, sum(count for count, _ in rungs))
    cost = whole * sum(count * exact(level) for count, level in rungs)
    for count, level in rungs:
        taken = min(left, count)
        cost += taken * exact(level)
        left -= taken
    return float(cost)


def _cost(rungs: list[tuple[int, Resource]]) -> float:
    first, level = rungs[0]
    cost = exact(first) * exact(level)
    for (_, before), (count, after) in pairwise(rungs):
        cost += count * (exact(after) - exact(before))
    return float(cost)
