"""Multi-objective asynchronous successive halving (MO-ASHA).

Schmucker, Donini, Zafar, Salinas, Archambeau: Multi-objective Asynchronous Successive Halving,
2021 (arXiv:2106.12639), with its epsilon net: results are ranked by non-dominated sorting, and
within a front by the greedy order of Salinas, Perrone, Cruchant, Archambeau: A Multi-objective
Perspective on Jointly Tuning Hardware and Hyperparameters, Workshop on Neural Architecture Search
at ICLR 2021. The default of eta is Syne Tune's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from tuneflow.history import History
from tuneflow.pareto import Point, epsilon_net, insert
from tuneflow.schedulers.rungs import AsyncHalving, Rungs, Variant
from tuneflow.trial import Resource


@dataclass(frozen=True)
class MOASHA(AsyncHalving):
    """Promote, or stop, trials by all metrics of the study, without waiting for a rung to fill.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: r, the lowest rung (the grace period). Default 1.
        reduction_factor: eta; the best 1/eta of a rung goes on. Default 3.
        variant: "promotion" (the default, the paper's) or "stopping", as for
            `tuneflow.schedulers.asha.ASHA`.
        brackets: how many brackets there are, as for ASHA. Default 1.

    The best of a rung are those that nobody dominates, then those that only they dominate, and so
    on. Of the front that is cut in two, the trials that go on are picked one by one: first the
    best one in the study's first metric, then always the one that is furthest from all that were
    picked. Distances are in the metrics' own units, so report them at comparable scales.

    With one metric this is ASHA. A result in which one of the metrics cannot be used ranks last.
    """

    type: ClassVar[str] = "mo_asha"

    max_resource: Resource
    min_resource: Resource = 1
    reduction_factor: float = 3
    variant: Variant = "promotion"
    brackets: int = 1

    def rungs(self, history: History) -> Rungs[Point]:
        """Return the empty rungs; a result is a loss for each of the study's metrics."""
        return Rungs(self, history.losses, history.losses({}), ParetoRung)


class ParetoRung:
    """Results at one level, sorted into fronts, the first one first."""

    def __init__(self, reduction_factor: Fraction) -> None:
        self._factor = reduction_factor
        self._points: list[Point] = []
        self._trial_of: list[int] = []
        self._trials: set[int] = set()
        self._settled: set[int] = set()
        self._fronts: list[list[int]] = []
        self._cut: list[list[int]] | None = None

    @property
    def top_size(self) -> int:
        """How many results are the top ones: ``floor(n / eta)``."""
        return len(self._trials) * self._factor.denominator // self._factor.numerator

    def add(self, trial: int, result: Point, arrival: int, *, promotable: bool = True) -> bool:
        """Record a result and return whether it is among the top ones now.

        A result of infinities ranks last and is never promotable. A trial that failed here and
        was tried again counts once: its later result takes the place of its failure.
        """
        position = len(self._points)
        self._points.append(result)
        self._trial_of.append(trial)
        self._trials.add(trial)
        insert(self._fronts, self._points, position)
        self._cut = None
        if promotable and result[0] < math.inf:
            self._settled.discard(trial)
        else:
            self._settled.add(trial)
        return any(position in one for one in self._top())

    def best_waiting(self) -> int | None:
        """Return the best trial of the top that may be promoted and has not been, or None."""
        for one in self._top():
            waiting = [p for p in one if self._trial_of[p] not in self._settled]
            if len(waiting) > 1:
                waiting = [p for p in self._spread(one) if p in waiting]
            if waiting:
                return self._trial_of[waiting[0]]
        return None

    @property
    def waiting(self) -> int:
        """How many of the top may be promoted and have not been."""
        return sum(self._trial_of[p] not in self._settled for one in self._top() for p in one)

    def settle(self, trial: int) -> None:
        """Take a trial out of the running for promotion: it was promoted, or it has ended."""
        self._settled.add(trial)

    def _top(self) -> list[list[int]]:
        """Return the fronts of the top; of the last one only as many as there is room for."""
        if self._cut is None:
            self._cut = list(self._cut_off())
        return self._cut

    def _cut_off(self) -> Iterator[list[int]]:
        room = self.top_size
        for one in self._fronts:
            if room >= len(one):
                yield one
            elif room > 0:
                yield self._spread(one, room)
            room -= len(one)

    def _spread(self, positions: list[int], count: int | None = None) -> list[int]:
        """Return a front, or as many of it, in the order of its epsilon net."""
        ordered = sorted(positions)
        return [ordered[k] for k in epsilon_net([self._points[p] for p in ordered], count)]
