"""What a past study has found out: one value for each trial that counts.

Values of different levels cannot be compared, so all are taken from one: the highest at which
enough trials have a usable value, where d + 1 are enough for d parameters. This is the rule by
which BOHB chooses the level that its model is built on (Falkner, Klein and Hutter, "BOHB: Robust
and Efficient Hyperparameter Optimization at Scale", ICML 2018, section 3.2).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Params, Resource, Trial, TrialState


@dataclass(frozen=True, slots=True)
class Observation:
    """A configuration and its value.

    Attributes:
        config: the configuration.
        value: the metric.
        resource: the level that it counts for.
    """

    config: Params
    value: float
    resource: Resource


def observations(study: Study, history: History, seed_key: str = "") -> list[Observation]:
    """Return what is known of a study's configurations, all at one level.

    A trial that went further counts with its value at that level, one that ended by itself before
    it with its last value. Failed trials and unusable values never count. Of a trial that was
    cloned into, only what its newest parameters have reported does. Where no level has enough
    trials, the one with most of them is taken, the highest among equals.

    Args:
        study: the study.
        history: its history, finished or not.
        seed_key: a key that is left out of the configurations: it is no parameter.
    """
    curves = [_Curve.of(history, trial) for trial in history.trials]
    usable = [curve for curve in curves if curve.levels]
    if not usable:
        return []
    free = [path for path in study.space.domains() if path != seed_key]
    level = _level(usable, len(free) + 1)
    values = ((curve.trial.params, curve.at(level)) for curve in usable)
    return [
        Observation({name: item for name, item in params.items() if name != seed_key}, value, level)
        for params, value in values
        if value is not None
    ]


@dataclass(frozen=True, slots=True)
class _Curve:
    """The usable values of a trial's parameters, by level."""

    trial: Trial
    levels: dict[Resource, float]

    @classmethod
    def of(cls, history: History, trial: Trial) -> _Curve:
        reports = trial.reports[trial.outdated :] if trial.state is not TrialState.FAILED else []
        usable = (report for report in reports if history.loss(report.metrics) < math.inf)
        return cls(trial, {r.resource: r.metrics[history.metric] for r in usable})

    @property
    def end(self) -> Resource:
        """The highest level."""
        return max(self.levels)

    @property
    def is_over(self) -> bool:
        """Whether the trial ended by itself, so that its last value holds from there on."""
        return self.trial.state is TrialState.COMPLETED

    def at(self, level: Resource) -> float | None:
        """Return the value at a level, or None."""
        return self.levels.get(min(level, self.end) if self.is_over else level)


def _level(curves: Sequence[_Curve], enough: int) -> Resource:
    """Return the highest level at which enough trials have a value, or else the fullest one."""
    counts = Counter(level for curve in curves for level in curve.levels)
    ends = sorted(curve.end for curve in curves if curve.is_over)
    sizes = {level: count + bisect_left(ends, level) for level, count in counts.items()}
    return max(sizes, key=lambda level: (min(sizes[level], enough), level))
