"""Asynchronous halving: what ASHA and its relatives share.

A trial is judged when it comes to a rung, against whoever has been there before. What a result
is, and which results are a rung's top ones, is up to the scheduler; see `Rungs`.
"""

from __future__ import annotations

import bisect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

from tuneflow.events import Closed, Finished, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.rng import generator
from tuneflow.schedulers.base import (
    Decision,
    Resume,
    Scheduler,
    Start,
    Stop,
    require,
    require_count,
)
from tuneflow.schedulers.levels import check_factor, check_resources, exact, rising_levels
from tuneflow.trial import Resource, TrialState

_R = TypeVar("_R")
_T_contra = TypeVar("_T_contra", contravariant=True)

Variant: TypeAlias = Literal["promotion", "stopping"]
"""Whether a trial pauses at each rung, or runs on until it is told to stop."""


class AsyncHalving(Scheduler):
    """A scheduler that promotes, or stops, trials one by one. Subclasses have its fields.

    Rungs lie at ``r, r*eta, r*eta**2, …`` below R, and at R.
    """

    resuming: ClassVar[str] = "promoted"

    max_resource: Resource
    min_resource: Resource
    reduction_factor: float
    variant: Variant = "promotion"
    brackets: int = 1

    def __post_init__(self) -> None:
        check_resources(self.min_resource, self.max_resource)
        check_factor(self.reduction_factor)
        require(
            self.variant in ("promotion", "stopping"),
            "variant",
            f"{self.variant!r} is neither 'promotion' nor 'stopping'",
        )
        require_count("brackets", self.brackets, most=len(self.levels))

    @abstractmethod
    def rungs(self, history: History) -> Rungs[Any]:
        """Return the empty rungs of this scheduler."""

    @cached_property
    def levels(self) -> list[Resource]:
        """Every rung level, lowest first; the last is ``max_resource``."""
        return rising_levels(self.min_resource, self.max_resource, self.reduction_factor)

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.max_resource

    @property
    def pauses(self) -> bool:
        """Only the promotion form does."""
        return self.variant == "promotion"

    def next(self, history: History) -> Decision | None:
        """Stop whom a rung rejected, else promote from the top rung down, else start."""
        index = history.index(self, lambda: self.rungs(history))
        if index.rejected:
            trial, level = next(iter(index.rejected.items()))
            return Stop(trial, f"not among the best 1/{self.reduction_factor:g} at {level}")
        found = index.promotion()
        if found is not None:
            return Resume(*found)
        if history.exhausted:
            return None
        bracket = self._bracket(history)
        return Start(index.first_level(bracket), bracket)

    def remaining(self, history: History) -> int:
        """Return how many trials run or are to be promoted; those that wait in vain do not count.

        A trial that comes to a rung promotes one at most, so it grows by new trials alone.
        """
        index = history.index(self, lambda: self.rungs(history))
        return history.counts[TrialState.RUNNING] + index.waiting

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the next rung: in rounds a trial is judged between segments.

        In the promotion form it is told to pause there anyway; its bracket's first rung may be
        above the lowest one.
        """
        if self.variant == "promotion":
            return until
        position = bisect.bisect_right(self.levels, resource)
        return self.levels[min(position, len(self.levels) - 1)]

    def _bracket(self, history: History) -> int:
        if self.brackets == 1:
            return 0
        factor = exact(self.reduction_factor)
        weights = [float(factor**-s) for s in range(self.brackets)]
        draw = generator(history.seed, "bracket", len(history.trials)).random() * sum(weights)
        for bracket, weight in enumerate(weights):
            draw -= weight
            if draw < 0:
                return bracket
        return self.brackets - 1


class AnyRung(Protocol[_T_contra]):
    """Results at one level, with its top ones known; `tuneflow.schedulers.rung.Rung` is one."""

    @property
    def top_size(self) -> int:
        """How many results are the top ones."""
        ...

    def add(self, trial: int, result: _T_contra, at: int, /, *, promotable: bool = True) -> bool:
        """Record a result and return whether it is among the top ones now."""
        ...

    def best_waiting(self) -> int | None:
        """Return the best trial of the top that may be promoted and has not been, or None."""
        ...

    @property
    def waiting(self) -> int:
        """How many of the top ones may be promoted and have not been."""
        ...

    def settle(self, trial: int, /) -> None:
        """Take a trial out of the running for promotion: it was promoted, or it has ended."""
        ...


class Rungs(Index, Generic[_R]):
    """The rungs of every bracket, as the facts have filled them.

    Args:
        scheduler: whose they are.
        measure: turns a report's metrics into a result.
        worst: the result of whoever has reported nothing; it ranks last.
        make_rung: makes an empty rung for a reduction factor.

    Attributes:
        top: the position of the highest rung that trials are promoted to.
        rejected: the trials to be stopped, and the level that each was judged at.
    """

    def __init__(
        self,
        scheduler: AsyncHalving,
        measure: Callable[[Mapping[str, float]], _R],
        worst: _R,
        make_rung: Callable[[Fraction], AnyRung[_R]],
    ) -> None:
        self._measure = measure
        self._worst = worst
        self._stopping = scheduler.variant == "stopping"
        self._levels = scheduler.levels
        factor = exact(scheduler.reduction_factor)
        self._rungs = [[make_rung(factor) for _ in self._levels] for _ in range(scheduler.brackets)]
        self._arrivals = 0
        self._bracket: list[int] = []
        self._judged: list[int] = []
        self._latest: list[tuple[Resource, _R, int]] = []
        self._paused: dict[int, None] = {}
        self._over: set[int] = set()
        self.top = len(self._levels) - 1
        self.rejected: dict[int, Resource] = {}

    def first_level(self, bracket: int) -> Resource:
        """Return where a new trial of a bracket is to pause."""
        return self._levels[-1] if self._stopping else self._levels[bracket]

    def promotion(self) -> tuple[int, Resource] | None:
        """Return a trial that may go on, and up to which level."""
        if self._stopping:
            return next(((trial, self._levels[-1]) for trial in self._paused), None)
        for position in range(self.top - 1, -1, -1):
            for rungs in self._rungs:
                trial = rungs[position].best_waiting()
                if trial is not None:
                    return trial, self._levels[position + 1]
        return None

    @property
    def waiting(self) -> int:
        """How many trials may go on now."""
        if self._stopping:
            return len(self._paused)
        return sum(rungs[position].waiting for rungs in self._rungs for position in range(self.top))

    def failed(self, latest: _R) -> _R:
        """Return what a failed trial counts as, from its latest result. Default: the worst."""
        return self._worst

    def add(self, trial: int, position: int, result: _R, arrival: int, *, promotable: bool) -> bool:
        """Record a result at a rung of the trial's bracket; whether it is a top one now."""
        rung = self._rungs[self._bracket[trial]][position]
        return rung.add(trial, result, arrival, promotable=promotable)

    def stopped(self, fact: Stopped) -> None:
        """Nothing more is decided about the trial."""
        self._end(fact.trial)

    def finished(self, fact: Finished) -> None:
        """Nothing more is decided about any trial."""
        for trial in range(len(self._bracket)):
            self._end(trial)

    def launched(self, fact: Launched) -> None:
        """The trial is under way, and no longer waits in its rung."""
        trial = fact.trial
        if trial == len(self._bracket):
            self._bracket.append(fact.bracket)
            self._judged.append(-1)
            self._latest.append((0, self._worst, 0))
        self._over.discard(trial)
        self._paused.pop(trial, None)
        if self._judged[trial] >= 0:
            self._rung(trial).settle(trial)

    def reported(self, fact: Reported) -> None:
        """In the stopping form a trial is judged by each report."""
        result = self._measure(fact.report.metrics)
        self._latest[fact.trial] = (fact.report.resource, result, self._arrival())
        if self._stopping:
            self._judge(fact.trial)

    def closed(self, fact: Closed) -> None:
        """In the promotion form a trial is judged when it pauses."""
        trial = fact.trial
        if fact.retry:
            return
        if fact.status in ("failed", "lost"):
            self._count_failure(trial)
            self._end(trial)
        elif fact.status != "paused":
            self._judge(trial, promotable=False)
            self._end(trial)
        elif not self._stopping:
            self._judge(trial, promotable=trial not in self._over)
        elif self._latest[trial][0] >= self._levels[-1]:
            self._end(trial)
        elif trial not in self._over:
            self._paused[trial] = None

    def _judge(self, trial: int, *, promotable: bool = True) -> None:
        """Record a trial once at the highest rung it has reached, unless it was there before."""
        resource, result, arrival = self._latest[trial]
        reached = bisect.bisect_right(self._levels, resource) - 1
        if reached <= self._judged[trial] or reached < self._bracket[trial]:
            return
        self._judged[trial] = reached
        is_top = self.add(trial, reached, result, arrival, promotable=promotable)
        can_stop = self._stopping and trial not in self._over and reached < len(self._levels) - 1
        if can_stop and self._rung(trial).top_size and not is_top:
            self.rejected[trial] = self._levels[reached]

    def _count_failure(self, trial: int) -> None:
        """Count a failed trial as the worst of the rung that it was on its way to."""
        goal = max(self._judged[trial] + 1, self._bracket[trial])
        if goal < len(self._levels):
            result = self.failed(self._latest[trial][1])
            self.add(trial, goal, result, self._arrival(), promotable=False)

    def _end(self, trial: int) -> None:
        """Leave a trial out of every choice from now on, unless it is launched once more."""
        self._over.add(trial)
        self.rejected.pop(trial, None)
        self._paused.pop(trial, None)
        if self._judged[trial] >= 0:
            self._rung(trial).settle(trial)

    def _arrival(self) -> int:
        self._arrivals += 1
        return self._arrivals

    def _rung(self, trial: int) -> AnyRung[_R]:
        return self._rungs[self._bracket[trial]][self._judged[trial]]
