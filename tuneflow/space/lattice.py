"""Evenly spaced values, and the cells of the unit interval that belong to them.

Value k of a lattice is ``(first + k * spacing) / scale``. Around each value lies a cell that
ends half a spacing away; the outermost cells reach ``overhang / 2`` beyond the outermost
values. A number is drawn from all the cells together, uniformly or uniformly in its logarithm,
and the value in whose cell it falls is taken. Two overhangs matter: a whole spacing makes all
cells equal, and none is what rounding a number from ``[first, last]`` gives.

All quantities are integers, so that nothing is lost for integers beyond 2**53, and so that
decimal steps give the floats one would write: 0.3, and not 0.1 + 0.1 + 0.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

LARGEST_UNIT: Final = math.nextafter(1.0, 0.0)
"""The largest double below 1."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Evenly spaced values; see the module.

    Args:
        first: the first value, times ``scale``.
        spacing: the distance of two neighbours, times ``scale``; above 0.
        count: how many values there are; 1 or more.
        overhang: twice what the outermost cells reach beyond their values, times ``scale``;
            from 0 to ``spacing``.
        log: draw uniformly in the logarithm; all cells must lie above 0.
        scale: what the other quantities are multiples of 1/scale of.
    """

    first: int
    spacing: int
    count: int
    overhang: int
    log: bool = False
    scale: int = 1

    def value(self, index: int) -> Fraction:
        """Return value ``index``."""
        return Fraction(self.first + index * self.spacing, self.scale)

    def index(self, u: float) -> int:
        """Return the index of the value whose cell holds ``u``."""
        if self.count == 1:
            return 0
        found = self._log_index(u) if self.log else self._linear_index(u)
        return max(0, min(self.count - 1, found))

    def middle(self, index: int) -> float:
        """Return the middle of the cell of value ``index``."""
        if self.count == 1:
            return 0.5
        lower, upper = self._edge(index), self._edge(index + 1)
        if self.log:
            middle = (self._log_unit(lower) + self._log_unit(upper)) / 2
        else:
            middle = (lower + upper) / (2 * self._width)
        return min(middle, LARGEST_UNIT)

    def nearest(self, number: float | Fraction) -> int:
        """Return the index of the value that is nearest to a finite number."""
        position = (Fraction(number) * self.scale - self.first) / self.spacing
        return max(0, min(self.count - 1, math.floor(position + Fraction(1, 2))))

    @property
    def _width(self) -> int:
        """The width of all cells together, times 2 * scale."""
        return 2 * ((self.count - 1) * self.spacing + self.overhang)

    def _edge(self, index: int) -> int:
        """Return where cell ``index`` begins, from the start of the first, times 2 * scale."""
        edge = (2 * index - 1) * self.spacing + self.overhang
        return max(0, min(self._width, edge))

    def _linear_index(self, u: float) -> int:
        numerator, denominator = u.as_integer_ratio()
        reached = numerator * self._width + (self.spacing - self.overhang) * denominator
        return reached // (2 * self.spacing * denominator)

    def _log_index(self, u: float) -> int:
        unit = 2 * self.spacing
        start = (2 * self.first - self.overhang) / unit
        offset = log_offset(u, start, self._width / unit)
        return math.floor(offset + (self.spacing - self.overhang) / unit)

    def _log_unit(self, edge: int) -> float:
        start = 2 * self.first - self.overhang
        return math.log1p(edge / start) / math.log1p(self._width / start)


def log_offset(u: float, low: float, width: float) -> float:
    """Return how far above ``low`` lies the share ``u`` of the way to ``low + width`` in logs.

    An offset keeps its digits where ``low + width`` is nearly ``low``.
    """
    return low * math.expm1(u * math.log1p(width / low))


def log_unit(offset: float, low: float, width: float) -> float:
    """Return the ``u`` of which `log_offset` makes ``offset``."""
    return math.log1p(offset / low) / math.log1p(width / low)
