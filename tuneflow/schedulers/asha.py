"""Asynchronous successive halving (ASHA).

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: A System for Massively
Parallel Hyperparameter Tuning, MLSys 2020. ``promotion`` is its Algorithm 2. ``stopping`` is the
variant that Ray Tune and Syne Tune run: a trial goes on without a pause and is judged as it
passes each rung.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

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
from tuneflow.schedulers.rung import Rung
from tuneflow.trial import Resource


@dataclass(frozen=True)
class ASHA(Scheduler):
    """Promote, or stop, trials one by one, without ever waiting for a rung to fill.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: r, the lowest rung (the grace period). Default 1.
        reduction_factor: eta; the best 1/eta of a rung goes on. Default 4, as in the paper.
        variant: "promotion" (the default) pauses a trial at each rung and resumes the best
            1/eta of it; "stopping" lets it run on and stops it unless it is among the best
            1/eta of the rung it has just reached.
        brackets: how many brackets there are; bracket s begins at the rung ``r * eta**s``. A
            new trial joins bracket s with probability in proportion to ``eta**-s``: the lower
            brackets need more trials to end with one. At most as many as rungs. Default 1.

    Rungs lie at ``r, r*eta, r*eta**2, …`` below R, and at R. A rung with fewer than eta results
    promotes nobody and stops nobody. The earlier of two equal results is the better one. A
    failed trial, NaN and infinity count as results that rank last. A report that jumps over a
    rung is judged once, at the highest rung it has reached.
    """

    type: ClassVar[str] = "asha"
    resuming: ClassVar[str] = "promoted"

    max_resource: Resource
    min_resource: Resource = 1
    reduction_factor: float = 4
    variant: Literal["promotion", "stopping"] = "promotion"
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

    @cached_property
    def levels(self) -> list[Resource]:
        """Every rung level, lowest first; the last is ``max_resource``."""
        return rising_levels(self.min_resource, self.max_resource, self.reduction_factor)

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.max_resource

    def next(self, history: History) -> Decision | None:
        """Stop whom a rung rejected, else promote from the top rung down, else start."""
        index = history.index(self, lambda: _Rungs(self, history))
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


class _Rungs(Index):
    """The rungs of every bracket, as the facts have filled them."""

    def __init__(self, scheduler: ASHA, history: History) -> None:
        self._loss = history.loss
        self._stopping = scheduler.variant == "stopping"
        self._levels = scheduler.levels
        factor = exact(scheduler.reduction_factor)
        self._rungs = [[Rung(factor) for _ in self._levels] for _ in range(scheduler.brackets)]
        self._arrivals = 0
        self._bracket: list[int] = []
        self._judged: list[int] = []
        self._latest: list[tuple[Resource, float, int]] = []
        self._paused: dict[int, None] = {}
        self._over: set[int] = set()
        self.rejected: dict[int, Resource] = {}

    def first_level(self, bracket: int) -> Resource:
        """Return where a new trial of a bracket is to pause."""
        return self._levels[-1] if self._stopping else self._levels[bracket]

    def promotion(self) -> tuple[int, Resource] | None:
        """Return a trial that may go on, and up to which level."""
        if self._stopping:
            return next(((trial, self._levels[-1]) for trial in self._paused), None)
        for position in range(len(self._levels) - 2, -1, -1):
            for rungs in self._rungs:
                trial = rungs[position].best_waiting()
                if trial is not None:
                    return trial, self._levels[position + 1]
        return None

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
            self._latest.append((0, math.inf, 0))
        self._over.discard(trial)
        self._paused.pop(trial, None)
        if self._judged[trial] >= 0:
            self._rung(trial).settle(trial)

    def reported(self, fact: Reported) -> None:
        """In the stopping form a trial is judged by each report."""
        loss = self._loss(fact.report.metrics)
        self._latest[fact.trial] = (fact.report.resource, loss, self._arrival())
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
        resource, loss, arrival = self._latest[trial]
        reached = bisect.bisect_right(self._levels, resource) - 1
        if reached <= self._judged[trial] or reached < self._bracket[trial]:
            return
        self._judged[trial] = reached
        rung = self._rung(trial)
        is_top = rung.add(trial, loss, arrival, promotable=promotable)
        can_stop = self._stopping and trial not in self._over and reached < len(self._levels) - 1
        if can_stop and rung.top_size and not is_top:
            self.rejected[trial] = self._levels[reached]

    def _count_failure(self, trial: int) -> None:
        """Count a failed trial as the worst of the rung that it was on its way to."""
        goal = max(self._judged[trial] + 1, self._bracket[trial])
        if goal < len(self._levels):
            rung = self._rungs[self._bracket[trial]][goal]
            rung.add(trial, math.inf, self._arrival(), promotable=False)

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

    def _rung(self, trial: int) -> Rung:
        return self._rungs[self._bracket[trial]][self._judged[trial]]
