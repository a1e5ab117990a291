"""What decides for a streaming study, on the spot or with proposals that a thread has made."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tuneflow.ahead.leaving import ended_at_exit
from tuneflow.ahead.patience import LEAST, SHORT, Durations, Waiting
from tuneflow.ahead.thinker import Made, Thinker, is_news
from tuneflow.events import Fact, Launched
from tuneflow.executors.base import Executor
from tuneflow.history import History
from tuneflow.searchers.base import LATER, Proposal, Suggested, Suggestion
from tuneflow.study import Study, decide
from tuneflow.trial import Resource


class Deciding:
    """Decides what a streaming study does next; the searcher is asked on the spot.

    Args:
        study: the study.
        history: its history, which is added to.
    """

    def __init__(self, study: Study, history: History) -> None:
        self._study = study
        self._history = history

    def decide(self, slots: int) -> list[Fact]:
        """Append what follows from the history to it, and return just that."""
        return decide(self._study, self._history, slots)

    def patience(self) -> float:
        """Return after how many seconds to decide again, though nothing has happened."""
        return math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release what was started."""


def deciding(study: Study, history: History, executor: Executor) -> Deciding:
    """Return what decides for a study: ahead of time where trials run meanwhile and it pays."""
    if executor.runs_meanwhile and study.searcher.ahead:
        return Ahead(study, history, executor.wake, executor.now)
    return Deciding(study, history)


class Ahead(Deciding):
    """Decides with proposals that a thread has made; the thread lives while this is entered.

    All methods but `think` are called by the driver.

    Args:
        study: the study.
        history: its history, which is added to.
        wake: called when there is a new proposal, so that the driver decides again.
        now: returns the seconds since some fixed moment.
    """

    def __init__(
        self, study: Study, history: History, wake: Callable[[], None], now: Callable[[], float]
    ) -> None:
        super().__init__(study, history)
        self._wake = wake
        self._durations = Durations(history, now)
        self._waiting = Waiting(now)
        self._is_waiting = False
        self._room = 0
        self._told = _Told()
        self._thinker = Thinker(study, now)
        self._signal = threading.Semaphore(0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="tuneflow-searcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        ended_at_exit(self._thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Have the thread end after the proposal that it is at; nobody waits for that."""
        self._is_over = True
        self._signal.release()

    def decide(self, slots: int) -> list[Fact]:
        """Append what follows from the history to it, and return just that.

        What the searcher raised in the thread is raised here, when its proposal is needed.
        """
        self._is_waiting = False
        self._room = min(slots, self._study.max_concurrent or slots)
        facts = decide(self._study, self._history, slots, self._suggest)
        if not self._is_waiting:
            self._waiting.set(0)
        self._tell(self._told.level)
        if self._is_waiting or self._thinker.pace.slowest > self._quick():
            self._signal.release()
        return facts

    def patience(self) -> float:
        """Return how many seconds a free slot goes on waiting for the newest proposal."""
        return self._waiting.left(self._durations.patience())

    def _suggest(self, history: History, until: Resource | None) -> Suggested:
        searcher = self._study.searcher
        if searcher.is_given(len(history.trials)):
            return _suggested(searcher.suggest(self._study.space, history, until))
        self._tell(until if searcher.minds_level else None)
        made = self._valid()
        if made is not None and made.news == self._told.news:
            return _suggested(made.proposal)
        return self._in_time(made)

    def _in_time(self, older: Made | None) -> Suggested:
        """Return what a slot gets for which there is no proposal that knows everything."""
        free = self._room - len(self._history.running)
        self._waiting.set(free)
        left, pace = self.patience(), self._thinker.pace
        if pace.slowest <= self._quick() and pace.expected(free) <= left:
            return self._on_the_spot()
        if older is not None and older.proposal is not LATER and left <= pace.expected(free):
            return _suggested(older.proposal)
        self._is_waiting = pace.expected(1) < left
        if self._is_waiting:
            return LATER
        study = self._study
        return _suggested(study.searcher.late(study.space, self._history), late=True)

    def _quick(self) -> float:
        """Return up to how many seconds a proposal is made on the spot."""
        return SHORT if self._durations.patience() == math.inf else LEAST

    def _on_the_spot(self) -> Suggested:
        self._thinker.think()
        made = self._valid()
        assert made is not None  # noqa: S101 - it has just been made
        return _suggested(made.proposal)

    def _valid(self) -> Made | None:
        """Return the newest proposal, unless it was launched or is for another level."""
        made = self._thinker.made
        if isinstance(made, BaseException):
            raise made
        if made is None or made.number <= self._told.launched or made.level != self._told.level:
            return None
        return made

    def _tell(self, level: Resource | None) -> None:
        """Leave for the searcher what is new."""
        facts = self._history.facts[self._told.count :]
        self._told.take(facts, level)
        self._durations.take(facts)
        self._thinker.tell(facts, level)

    def think(self) -> None:
        """Propose if need be, and say so: what the thread does at every signal."""
        if self._thinker.think() and not self._is_over:
            self._wake()

    def _run(self) -> None:
        while not self._is_over:
            self._signal.acquire()
            if not self._is_over:
                self.think()


@dataclass(slots=True)
class _Told:
    """What the searcher has been told so far.

    Attributes:
        count: how many facts.
        news: how many of them were news.
        trials: how many trials had begun.
        launched: the newest trial whose configuration was not drawn late; -1 before one.
        level: at which the next trial will pause first, if the searcher minds.
    """

    count: int = 0
    news: int = 0
    trials: int = 0
    launched: int = -1
    level: Resource | None = None

    def take(self, facts: Sequence[Fact], level: Resource | None) -> None:
        """Take note of what is told now."""
        self.count += len(facts)
        self.news += sum(map(is_news, facts))
        self.level = level
        for fact in facts:
            if isinstance(fact, Launched) and fact.trial == self.trials:
                self.trials += 1
                if not fact.late:
                    self.launched = fact.trial


def _suggested(proposal: Proposal, *, late: bool = False) -> Suggested:
    if proposal is None or proposal is LATER:
        return proposal
    return Suggestion(proposal, late)
