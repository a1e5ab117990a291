"""What is kept of a run: how good its incumbent was, over simulated time.

The rule, which is equal for all: the rungs are 1, 3, 9 … and the full resource; the incumbent is
the configuration with the best observed value at the highest rung that any trial has reached.
Its regret is measured without noise and at the full resource, which no algorithm sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality_parts.problems import Problem


@dataclass
class Incumbents:
    """Follows the incumbent of one run.

    Attributes:
        curve: (seconds, regret) whenever another configuration became the incumbent.
        units: how many units of resource were computed.
    """

    problem: Problem
    until: float
    curve: list[tuple[float, float]] = field(default_factory=list)
    units: int = 0
    _level: int = 0
    _value: float = math.inf
    _point: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._levels = frozenset(self.problem.levels)

    def note(self, time: float, config: Mapping[str, Any], level: float, value: float) -> None:
        """Take in one report."""
        if time > self.until:
            return
        self.units += 1
        if level not in self._levels or level < self._level or not math.isfinite(value):
            return
        if level == self._level and value >= self._value:
            return
        self._level, self._value = int(level), value
        point = self.problem.point(config)
        if point != self._point:
            self._point = point
            self.curve.append((round(time, 3), self.problem.regret(config)))


def regret_at(curve: list[tuple[float, float]], time: float) -> float:
    """Return the regret of the incumbent at a moment; infinity before the first."""
    found = math.inf
    for moment, regret in curve:
        if moment > time:
            break
        found = regret
    return found


def first_time(curve: list[tuple[float, float]], goal: float) -> float:
    """Return when the regret was first as low as ``goal``; infinity when it never was."""
    return next((moment for moment, regret in curve if regret <= goal), math.inf)
