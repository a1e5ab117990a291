"""One rung of asynchronous halving: results at a level, and the top 1/eta of them."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction
from typing import TypeAlias

_Entry: TypeAlias = tuple[float, int, int]
"""Loss, arrival, trial: the smaller is the better, an earlier arrival breaks a tie."""


class Rung:
    """Results at one level, with its top ``floor(n / eta)`` known at all times.

    Adding a result and asking for a promotion cost O(log n): the top is a heap with its worst
    entry first, the rest a heap with its best entry first, and one entry at most moves between
    them when a result comes in.
    """

    def __init__(self, reduction_factor: Fraction) -> None:
        self._factor = reduction_factor
        self._trials: set[int] = set()
        self._top: list[_Entry] = []
        self._rest: list[_Entry] = []
        self._in_top: set[int] = set()
        self._waiting: list[_Entry] = []
        self._settled: set[int] = set()

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def top_size(self) -> int:
        """How many results are the top ones: ``floor(n / eta)``."""
        return len(self._trials) * self._factor.denominator // self._factor.numerator

    def add(self, trial: int, loss: float, arrival: int, *, promotable: bool = True) -> bool:
        """Record a result and return whether it is among the top ones now.

        A loss of infinity ranks last and is never promotable. A trial that failed here and was
        tried again counts once: its later result takes the place of its failure.

        Args:
            trial: the trial's number.
            loss: its result.
            arrival: grows with each result of the study; the earlier of two equal ones wins.
            promotable: whether the trial can go on.
        """
        entry = (loss, arrival, trial)
        self._trials.add(trial)
        if promotable and loss < math.inf:
            self._settled.discard(trial)
        else:
            self._settled.add(trial)
        heapq.heappush(self._rest, entry)
        if self._top and entry < _flip(self._top[0]):
            self._demote()
        while len(self._top) < self.top_size:
            self._raise()
        return arrival in self._in_top

    def best_waiting(self) -> int | None:
        """Return the best trial of the top that may be promoted and has not been, or None."""
        while self._waiting:
            _, arrival, trial = self._waiting[0]
            if arrival in self._in_top and trial not in self._settled:
                return trial
            heapq.heappop(self._waiting)
        return None

    @property
    def waiting(self) -> int:
        """How many of the top may be promoted and have not been."""
        known = {trial for _, arrival, trial in self._waiting if arrival in self._in_top}
        return len(known - self._settled)

    def settle(self, trial: int) -> None:
        """Take a trial out of the running for promotion: it was promoted, or it has ended."""
        self._settled.add(trial)

    def _raise(self) -> None:
        entry = heapq.heappop(self._rest)
        heapq.heappush(self._top, _flip(entry))
        self._in_top.add(entry[1])
        if entry[2] not in self._settled:
            heapq.heappush(self._waiting, entry)

    def _demote(self) -> None:
        entry = _flip(heapq.heappop(self._top))
        self._in_top.discard(entry[1])
        heapq.heappush(self._rest, entry)


def _flip(entry: _Entry) -> _Entry:
    """Return an entry that orders the other way round."""
    return -entry[0], -entry[1], entry[2]
