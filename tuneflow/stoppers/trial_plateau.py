"""End a trial that does not move, as Ray Tune's TrialPlateauStopper does."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.stoppers.base import (
    Stopper,
    Watch,
    after,
    deviation,
    goal,
    require,
    require_above_zero,
    require_mode,
    require_whole,
)
from tuneflow.trial import Mode, Report, Resource


@dataclass(frozen=True)
class TrialPlateau(Stopper):
    """End a trial when its last values hardly differ.

    Args:
        metric: the metric to look at. Default: the study's.
        std: the trial ends when the standard deviation of its last values is below this.
            Default 0.01.
        num_results: how many last values are compared. Default 4.
        grace_period: how many reports a trial has before this is looked at. Default 4.
        metric_threshold: a trial ends only at a value at least as good as this. Default: at any.
        mode: whether a small or a large value is better than the threshold. Default: the study's.
        interval: in rounds, how many resource units apart a trial is looked at. Only a scheduler
            that does not pause trials itself heeds it. Default: where the scheduler looks.

    The standard deviation is that of the values themselves (divided by n). NaN, infinity or a
    missing value among them is no plateau. Defaults and meaning are those of Ray Tune.
    """

    type: ClassVar[str] = "trial_plateau"

    metric: str | None = None
    std: float = 0.01
    num_results: int = 4
    grace_period: int = 4
    metric_threshold: float | None = None
    mode: Mode | None = None
    interval: Resource | None = None

    def __post_init__(self) -> None:
        require_above_zero("std", self.std)
        require_whole("num_results", self.num_results, least=2)
        require_whole("grace_period", self.grace_period, least=0)
        threshold = self.metric_threshold
        is_right = threshold is None or math.isfinite(threshold)
        require(is_right, "metric_threshold", f"{threshold!r} is not a finite number")
        require_mode(self.mode)
        if self.interval is not None:
            require_above_zero("interval", self.interval)

    def watch(self, history: History) -> Watch:
        """Return a watch that has seen nothing yet."""
        return _Trials(self, *goal(history, self.metric, self.mode))

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the next level at which a trial is looked at."""
        return after(self.interval, resource, until)


class _Trials(Watch):
    """The last values of each trial."""

    def __init__(self, rule: TrialPlateau, metric: str, mode: Mode) -> None:
        self._rule = rule
        self._metric = metric
        self._mode = mode
        self._values: dict[int, deque[float]] = {}
        self._counts: dict[int, int] = {}

    def report(self, trial: int, report: Report) -> str | None:
        """Take in a value, and compare it with those before."""
        values = self._values.setdefault(trial, deque(maxlen=self._rule.num_results))
        values.append(report.metrics.get(self._metric, math.nan))
        count = self._counts[trial] = self._counts.get(trial, 0) + 1
        is_early = count < max(self._rule.grace_period, self._rule.num_results)
        if is_early or not self._is_good(values[-1]) or not all(map(math.isfinite, values)):
            return None
        if deviation(values) >= self._rule.std:
            return None
        return f"the last {len(values)} values of {self._metric} hardly differ"

    def _is_good(self, value: float) -> bool:
        threshold = self._rule.metric_threshold
        if threshold is None:
            return True
        return value <= threshold if self._mode == "min" else value >= threshold
