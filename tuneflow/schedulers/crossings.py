"""How noisy learning curves are, told from those that cross and cross back."""

from __future__ import annotations

import bisect
import math
from fractions import Fraction
from itertools import combinations
from typing import TypeAlias

from tuneflow.schedulers.levels import exact
from tuneflow.trial import Resource

_Curve: TypeAlias = dict[Resource, float]
"""Usable losses by level, lowest level first."""


class Crossings:
    """PASHA's estimate of the noise, kept up to date report by report.

    Two trials whose curves cross and cross back are equally good but for noise. Each such pair
    gives one difference, at the highest level within the bounds at which both have reported.

    Args:
        percentile: which percentile of the differences is epsilon.

    Attributes:
        epsilon: the estimate; it stays what it was while there is no pair, and begins with 0.
    """

    def __init__(self, percentile: float) -> None:
        self._share = exact(percentile) / 100
        self._curves: dict[int, _Curve] = {}
        self._reporters: dict[Resource, list[int]] = {}
        self._above: Resource = 0
        self._until: Resource = 0
        self._known: dict[tuple[int, int], float] = {}
        self._differences: list[float] = []
        self.epsilon = 0.0

    def watch(self, above: Resource, until: Resource) -> None:
        """Look at levels above the one and up to the other from now on."""
        self._above, self._until = above, until
        self._known.clear()
        self._differences.clear()
        for level in sorted(self._reporters):
            if above < level <= until:
                for one, other in combinations(self._reporters[level], 2):
                    self._compare(one, other, level)
        self._estimate()

    def add(self, trial: int, level: Resource, loss: float) -> None:
        """Take in a report; a loss of infinity says nothing."""
        if loss == math.inf:
            return
        self._curves.setdefault(trial, {})[level] = loss
        others = self._reporters.setdefault(level, [])
        if self._above < level <= self._until:
            for other in others:
                self._compare(other, trial, level)
            self._estimate()
        others.append(trial)

    def _compare(self, one: int, other: int, level: Resource) -> None:
        """Note the difference of a pair at a level, in place of the one at a lower level."""
        pair = (min(one, other), max(one, other))
        old = self._known.pop(pair, None)
        if old is not None:
            del self._differences[bisect.bisect_left(self._differences, old)]
        first, second = self._curves[one], self._curves[other]
        if _cross_back(first, second, level):
            self._known[pair] = new = abs(first[level] - second[level])
            bisect.insort(self._differences, new)

    def _estimate(self) -> None:
        if self._differences:
            self.epsilon = _percentile(self._differences, self._share)


def _cross_back(one: _Curve, other: _Curve, level: Resource) -> bool:
    """Whether two trials are ordered at a level as they were before they were the other way."""
    order = _order(one[level], other[level])
    has_crossed = False
    for lower in reversed(one):
        if lower < level and lower in other:
            before = _order(one[lower], other[lower])
            if has_crossed and before == order != 0:
                return True
            has_crossed |= before == -order != 0
    return False


def _order(one: float, other: float) -> int:
    return (one > other) - (one < other)


def _percentile(values: list[float], share: Fraction) -> float:
    """Return a percentile of sorted values, with linear interpolation between two of them."""
    place = (len(values) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * float(place - below)
