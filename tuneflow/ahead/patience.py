"""How long a free slot waits for a proposal."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from tuneflow.events import Closed, Fact, Launched
from tuneflow.history import History

PATIENCE: Final = 0.02
"""How long a free slot waits for a proposal, as a share of the mean duration of a segment."""

LEAST: Final = 0.02
"""Seconds that a free slot waits at least. What takes no longer is proposed on the spot."""

SHORT: Final = 0.5
"""Seconds below which segments are so short that slots wait for proposals, however long."""


class Durations:
    """How long segments take, as a driver sees it.

    Args:
        history: tells what is running at first.
        now: returns the seconds since some fixed moment.
    """

    def __init__(self, history: History, now: Callable[[], float]) -> None:
        self._now = now
        self._began = dict.fromkeys(history.running, now())
        self._known = len(history.facts)
        self._sum = 0.0
        self._count = 0

    def take(self, facts: Iterable[Fact]) -> None:
        """Note what began and what ended; what had happened at first tells nothing."""
        for fact in facts:
            if self._known:
                self._known -= 1
            elif isinstance(fact, Launched):
                self._began[fact.trial] = self._now()
            elif isinstance(fact, Closed):
                self._sum += self._now() - self._began.pop(fact.trial)
                self._count += 1

    def patience(self) -> float:
        """Return how many seconds a slot may wait; for ever before a first segment has ended."""
        if not self._count or self._sum < SHORT * self._count:
            return math.inf
        return max(PATIENCE * self._sum / self._count, LEAST)


class Pace:
    """How long proposals take.

    Args:
        now: returns the seconds since some fixed moment.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began: float | None = None
        self._newest: tuple[float, ...] = ()

    @property
    def slowest(self) -> float:
        """How many seconds the slower one of the last two took; infinity before the first."""
        return max(self._newest, default=math.inf)

    def begin(self) -> None:
        """Note that a proposal is begun."""
        self._began = self._now()

    def end(self) -> None:
        """Note that it is there."""
        if self._began is not None:
            self._newest = (*self._newest[-1:], self._now() - self._began)
        self._began = None

    def expected(self, count: int) -> float:
        """Return in how many seconds so many more proposals can be there; 0 if nobody knows.

        It goes by the quicker one of the last two, as a computer may hesitate once.
        """
        began = self._began
        spent = self._now() - began if began is not None else 0.0
        return max(count * min(self._newest, default=0.0) - spent, 0.0)


class Waiting:
    """Since when each free slot has been waiting for a proposal.

    Args:
        now: returns the seconds since some fixed moment.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since: deque[float] = deque()

    def set(self, free: int) -> None:
        """Note how many slots wait now; of fewer than before, those have that waited longest."""
        while len(self._since) > free:
            self._since.popleft()
        while len(self._since) < free:
            self._since.append(self._now())

    def left(self, patience: float) -> float:
        """Return how many seconds the slot goes on waiting that has waited longest."""
        if not self._since:
            return math.inf
        return max(self._since[0] + patience - self._now(), 0.0)
