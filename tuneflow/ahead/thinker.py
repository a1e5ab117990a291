"""The searcher at work over a history of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuneflow.ahead.patience import Pace
from tuneflow.events import Elapsed, Fact, Reported
from tuneflow.searchers.base import Proposal
from tuneflow.study import Study
from tuneflow.trial import Resource


@dataclass(frozen=True, slots=True)
class Made:
    """A proposal, and what it knows.

    Attributes:
        proposal: what the searcher said.
        level: that it was asked for.
        number: how many trials there were.
        news: how much news there was; see `is_news`.
    """

    proposal: Proposal
    level: Resource | None
    number: int
    news: int


class Thinker:
    """The searcher, over a history that is told the study's facts. Safe from two threads.

    Args:
        study: the study.
        now: returns the seconds since some fixed moment.

    Attributes:
        made: the newest proposal, or what the searcher raised instead; None before the first.
        pace: how long proposals take.
    """

    def __init__(self, study: Study, now: Callable[[], float]) -> None:
        self.made: Made | BaseException | None = None
        self.pace = Pace(now)
        self._study = study
        self._history = study.history()
        self._untold: deque[Sequence[Fact]] = deque()
        self._level: Resource | None = None
        self._news = 0
        self._lock = threading.Lock()

    def tell(self, facts: Sequence[Fact], level: Resource | None) -> None:
        """Leave facts for the next time that it thinks.

        Args:
            facts: what has happened since the last time.
            level: at which the next trial will pause first, if the searcher minds.
        """
        if facts:
            self._untold.append(facts)
        self._level = level

    def think(self) -> bool:
        """Take in what was told, and propose; False when the last proposal is as good as new."""
        with self._lock:
            while self._untold:
                facts = self._untold.popleft()
                self._history.extend(facts)
                self._news += sum(map(is_news, facts))
            level = self._level
            is_needed = self._is_needed(level)
            if is_needed:
                self.pace.begin()
                self.made = self._propose(level)
                self.pace.end()
            return is_needed

    def _propose(self, level: Resource | None) -> Made | BaseException:
        study, number = self._study, len(self._history.trials)
        try:
            proposal = study.searcher.suggest(study.space, self._history, level)
        except BaseException as error:  # noqa: BLE001 - it is raised in the driver's thread
            return error
        return Made(proposal, level, number, self._news)

    def _is_needed(self, level: Resource | None) -> bool:
        history, number, made = self._history, len(self._history.trials), self.made
        if history.finished or history.halted or history.exhausted:
            return False
        limit = self._study.trial_limit
        if (limit is not None and number >= limit) or self._study.searcher.is_given(number):
            return False
        return not isinstance(made, Made) or (made.news, made.level) != (self._news, level)


def is_news(fact: Fact) -> bool:
    """Whether a fact makes a proposal old."""
    return not isinstance(fact, Reported | Elapsed)
