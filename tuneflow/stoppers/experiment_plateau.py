"""End a study whose best values do not move, as Ray Tune's ExperimentPlateauStopper does."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.stoppers.base import (
    Stopper,
    Watch,
    deviation,
    goal,
    require_above_zero,
    require_mode,
    require_whole,
)
from tuneflow.trial import Mode, Report


@dataclass(frozen=True)
class ExperimentPlateau(Stopper):
    """End the whole study when the best of all reported values hardly differ.

    Args:
        metric: the metric to look at. Default: the study's.
        std: the study ends when the standard deviation of the best values is at most this.
            Default 0.001.
        top: how many best values are compared. Default 10.
        mode: whether small or large values are the best. Default: the study's.
        patience: at how many reports in a row this must have been so. Default 0: at one.

    All reports count, also several of one trial. The standard deviation is that of the values
    themselves (divided by n). A report without a finite value is passed over. Defaults and
    meaning are those of Ray Tune; ``budget.plateau`` is a rule that needs no scale.
    """

    type: ClassVar[str] = "experiment_plateau"

    metric: str | None = None
    std: float = 0.001
    top: int = 10
    mode: Mode | None = None
    patience: int = 0

    def __post_init__(self) -> None:
        require_above_zero("std", self.std)
        require_whole("top", self.top, least=2)
        require_mode(self.mode)
        require_whole("patience", self.patience, least=0)

    def watch(self, history: History) -> Watch:
        """Return a watch that has seen nothing yet."""
        return _Best(self, *goal(history, self.metric, self.mode))


class _Best(Watch):
    """The best losses of all reports, and for how long they have hardly differed."""

    def __init__(self, rule: ExperimentPlateau, metric: str, mode: Mode) -> None:
        self._rule = rule
        self._metric = metric
        self._sign = -1.0 if mode == "max" else 1.0
        self._losses: list[float] = []
        self._flat = 0

    def report(self, trial: int, report: Report) -> str | None:
        """Take in a value. Where the study is to end, so is each trial that reports."""
        value = report.metrics.get(self._metric, math.nan)
        if math.isfinite(value) and self.ending() is None:
            bisect.insort(self._losses, self._sign * value)
            del self._losses[self._rule.top :]
            self._flat = self._flat + 1 if self._is_flat() else 0
        return self.ending()

    def ending(self) -> str | None:
        """Say so when the best values have hardly differed for long enough, and from then on."""
        if self._flat < max(self._rule.patience, 1):
            return None
        return f"the best {self._rule.top} values of {self._metric} hardly differ"

    def _is_flat(self) -> bool:
        is_full = len(self._losses) == self._rule.top
        return is_full and deviation(self._losses) <= self._rule.std
