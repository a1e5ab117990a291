"""The median stopping rule.

Golovin, Solnik, Moitra, Kochanski, Karro, Sculley: Google Vizier: A Service for Black-Box
Optimization, KDD 2017, section 3.2.2.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.events import Closed, Finished, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.schedulers.base import (
    Decision,
    Resume,
    Scheduler,
    Start,
    Stop,
    require_count,
    require_number,
)
from tuneflow.schedulers.levels import check_resources
from tuneflow.trial import Resource


@dataclass(frozen=True)
class MedianStopping(Scheduler):
    """Stop a trial whose best value so far is worse than the median of the others' averages.

    Args:
        max_resource: the level at which a trial is complete; None leaves it to the objective.
        min_resource: no trial is stopped below this level (the grace period). Default 1.
        min_samples: how many trials must be complete first. Default 3.
        interval: in rounds, how many resource units apart a trial is looked at. Default 1.

    At level s the trial's best value up to s is compared with the median, over the completed
    trials, of the running average of each up to s. Only a strictly worse one is stopped. NaN
    and infinity count neither for nor against anybody.
    """

    type: ClassVar[str] = "median"

    max_resource: Resource | None = None
    min_resource: Resource = 1
    min_samples: int = 3
    interval: Resource = 1

    def __post_init__(self) -> None:
        end = self.min_resource if self.max_resource is None else self.max_resource
        check_resources(self.min_resource, end)
        require_count("min_samples", self.min_samples)
        require_number("interval", self.interval, 0)

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.max_resource

    @property
    def pauses(self) -> bool:
        """It does not; in rounds, a trial that was paused goes on."""
        return False

    def next(self, history: History) -> Decision | None:
        """Stop whom the median rejects, else go on with paused trials, else start one."""
        index = history.index(self, lambda: _Averages(self, history))
        if index.rejected:
            trial, level = next(iter(index.rejected.items()))
            return Stop(trial, f"worse than the median at {level}")
        if index.paused:
            return Resume(next(iter(index.paused)), self.max_resource)
        return None if history.exhausted else Start(self.max_resource)

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the next level at which a trial is looked at."""
        level = max(resource + self.interval, self.min_resource)
        return level if until is None else min(level, until)


@dataclass(slots=True)
class _Curve:
    """Usable reports of one trial: levels, and the average up to each.

    ``reached`` is the level of its newest report, usable or not.
    """

    levels: list[Resource]
    averages: list[float]
    total: float = 0.0
    best: float = math.inf
    reached: Resource = 0
    is_over: bool = False

    def add(self, level: Resource, loss: float) -> None:
        self.total += loss
        self.best = min(self.best, loss)
        self.levels.append(level)
        self.averages.append(self.total / len(self.levels))

    def average_up_to(self, level: Resource) -> float | None:
        position = bisect.bisect_right(self.levels, level) - 1
        return self.averages[position] if position >= 0 else None


class _Averages(Index):
    """The curves of all trials, and at each level the sorted averages of the complete ones."""

    def __init__(self, scheduler: MedianStopping, history: History) -> None:
        self._rule = scheduler
        self._loss = history.loss
        self._curves: list[_Curve] = []
        self._complete: list[_Curve] = []
        self._sorted: dict[Resource, tuple[int, list[float]]] = {}
        self.rejected: dict[int, Resource] = {}
        self.paused: dict[int, None] = {}

    def stopped(self, fact: Stopped) -> None:
        """Nothing more is decided about the trial."""
        self._drop(fact.trial)

    def finished(self, fact: Finished) -> None:
        """Nothing more is decided about any trial."""
        for trial in range(len(self._curves)):
            self._drop(trial)

    def launched(self, fact: Launched) -> None:
        """The trial is under way."""
        if fact.trial == len(self._curves):
            self._curves.append(_Curve([], []))
        self._curves[fact.trial].is_over = False
        self.paused.pop(fact.trial, None)

    def reported(self, fact: Reported) -> None:
        """Compare the trial with the median of the others."""
        level, curve = fact.report.resource, self._curves[fact.trial]
        curve.reached = level
        loss = self._loss(fact.report.metrics)
        if loss == math.inf:
            return
        curve.add(level, loss)
        if self._can_stop(curve):
            median = self._median(level)
            if median is not None and curve.best > median:
                self.rejected[fact.trial] = level

    def _can_stop(self, curve: _Curve) -> bool:
        is_early = curve.reached < self._rule.min_resource
        return not (is_early or curve.is_over or self._is_last(curve))

    def closed(self, fact: Closed) -> None:
        """A complete trial's curve counts for the median from now on."""
        if fact.retry:
            return
        trial = fact.trial
        curve = self._curves[trial]
        if fact.status == "paused" and not self._is_last(curve):
            if not curve.is_over:
                self.paused[trial] = None
            return
        if fact.status in ("completed", "paused"):
            self._complete.append(curve)
        self._drop(trial)

    def _drop(self, trial: int) -> None:
        """Leave a trial out of every choice from now on, unless it is launched once more."""
        self._curves[trial].is_over = True
        self.rejected.pop(trial, None)
        self.paused.pop(trial, None)

    def _is_last(self, curve: _Curve) -> bool:
        return self._rule.max_resource is not None and curve.reached >= self._rule.max_resource

    def _median(self, level: Resource) -> float | None:
        """Return the median of the averages at a level; None while there are too few."""
        known, averages = self._sorted.get(level, (0, []))
        for curve in self._complete[known:]:
            average = curve.average_up_to(level)
            if average is not None:
                bisect.insort(averages, average)
        self._sorted[level] = (len(self._complete), averages)
        if len(averages) < self._rule.min_samples:
            return None
        middle = len(averages) // 2
        if len(averages) % 2:
            return averages[middle]
        return (averages[middle - 1] + averages[middle]) / 2
