"""Kernel densities of points that mix numbers and categories, and draws from near such points.

The product kernels are those that BOHB uses (Falkner, Klein, Hutter, "BOHB: Robust and
Efficient Hyperparameter Optimization at Scale", ICML 2018): for a number Gaussian, for a category
that of Aitchison and Aitken ("Multivariate binary discrimination by the kernel method",
Biometrika 63, 1976). Bandwidths follow Scott's normal reference rule,
``1.06 * sd * n**(-1 / (4 + d))`` (Scott, "Multivariate Density Estimation", 1992).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from math import dist, exp
from statistics import NormalDist
from typing import Final, TypeAlias

from tuneflow.rng import choose_index

Coordinates: TypeAlias = tuple[float, ...]
"""For each axis a number in [0, 1], or the position of a category."""

_NORMAL: Final = NormalDist()
_TINY: Final = 2.0**-53
_LARGEST: Final = 1e300
"""Densities above are taken for this one: those of a hundred axes or more leave all floats."""


def bandwidths(
    points: Sequence[Coordinates], categories: Sequence[int], least: float
) -> Coordinates:
    """Return the bandwidth of each axis by the normal reference rule.

    Args:
        points: the points; at least one.
        categories: how many categories an axis has; 0 for a number.
        least: the smallest bandwidth.

    A category's bandwidth is at most ``(c - 1) / c``: there the kernel is the same for all
    categories, and beyond it would prefer the others.
    """
    shrinkage = 1.06 * len(points) ** (-1 / (4 + len(categories)))
    found = []
    for axis, count in enumerate(categories):
        width = max(shrinkage * _deviation([point[axis] for point in points]), least)
        found.append(min(width, (count - 1) / count) if count else width)
    return tuple(found)


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


class Density:
    """The mean of a kernel around each of several points.

    Args:
        points: the points; at least one.
        categories: how many categories an axis has; 0 for a number.
        widths: the bandwidth of each axis.
    """

    def __init__(
        self,
        points: Sequence[Coordinates],
        categories: Sequence[int],
        widths: Coordinates,
    ) -> None:
        self.points = points
        self.widths = widths
        self._categories = categories
        numbers = [axis for axis, count in enumerate(categories) if not count]
        self._scales = [(axis, 1 / (widths[axis] * math.sqrt(2))) for axis in numbers]
        volume = math.prod(widths[axis] * math.sqrt(2 * math.pi) for axis in numbers)
        self._factor = 1 / max(len(points) * volume, 1 / _LARGEST)
        self._listed = [
            (axis, 1 - widths[axis], widths[axis] / (count - 1))
            for axis, count in enumerate(categories)
            if count
        ]
        # By categories, as points that share them share a factor.
        self._groups: dict[Coordinates, list[Coordinates]] = {}
        for point in points:
            self._groups.setdefault(self._chosen(point), []).append(self._scaled(point))

    def at(self, point: Coordinates) -> float:
        """Return the density at a point."""
        here, total = self._scaled(point), 0.0
        for chosen, others in self._groups.items():
            near = sum([exp(-(dist(here, other) ** 2)) for other in others])
            total += near * self._weight(chosen, point)
        return min(self._factor * total, _LARGEST)

    def draw(self, rng: random.Random, widening: float) -> Coordinates:
        """Return a draw from near one of the points.

        Numbers come from a normal distribution around the point, with its bandwidth times
        ``widening``, cut to [0, 1]; a category stays with probability ``1 - bandwidth``, else
        all are equally likely.
        """
        centre = self.points[choose_index(rng, len(self.points))]
        axes = zip(centre, self.widths, self._categories, strict=True)
        return tuple(
            _category(rng, value, width, count) if count else _number(rng, value, width * widening)
            for value, width, count in axes
        )

    def _scaled(self, point: Coordinates) -> Coordinates:
        return tuple(point[axis] * scale for axis, scale in self._scales)

    def _chosen(self, point: Coordinates) -> Coordinates:
        return tuple(point[axis] for axis, _, _ in self._listed)

    def _weight(self, chosen: Coordinates, point: Coordinates) -> float:
        weight = 1.0
        for value, (axis, same, other) in zip(chosen, self._listed, strict=True):
            weight *= same if point[axis] == value else other
        return weight


def _category(rng: random.Random, value: float, width: float, count: int) -> float:
    return value if rng.random() < 1 - width else choose_index(rng, count)


def _number(rng: random.Random, value: float, deviation: float) -> float:
    low = _NORMAL.cdf(-value / deviation)
    high = _NORMAL.cdf((1 - value) / deviation)
    unit = min(max(low + rng.random() * (high - low), _TINY), 1 - _TINY)
    return min(max(value + deviation * _NORMAL.inv_cdf(unit), 0.0), 1.0)
