"""The trials that wait to go on, for schedulers that go on with each of them."""

from __future__ import annotations

from tuneflow.events import Closed, Finished, Launched, Reported, Stopped
from tuneflow.index import Index
from tuneflow.trial import Resource


class Paused(Index):
    """The trials that are paused and may go on, in the order in which they paused.

    Args:
        limit: the level at which a trial is complete, or None.

    Attributes:
        trials: their numbers, as the keys of a dict.
    """

    def __init__(self, limit: Resource | None) -> None:
        self.trials: dict[int, None] = {}
        self._limit = limit
        self._levels: list[Resource] = []
        self._stopped: set[int] = set()

    def launched(self, fact: Launched) -> None:
        """The trial is under way."""
        if fact.trial == len(self._levels):
            self._levels.append(0)
        elif fact.source is not None:
            self._levels[fact.trial] = fact.start
        self.trials.pop(fact.trial, None)
        self._stopped.discard(fact.trial)

    def reported(self, fact: Reported) -> None:
        """Note how far the trial has come."""
        self._levels[fact.trial] = fact.report.resource

    def stopped(self, fact: Stopped) -> None:
        """The trial does not go on."""
        self.trials.pop(fact.trial, None)
        self._stopped.add(fact.trial)

    def closed(self, fact: Closed) -> None:
        """The trial may go on, unless it is at its end."""
        trial = fact.trial
        is_at_end = self._limit is not None and self._levels[trial] >= self._limit
        if fact.status == "paused" and not is_at_end and trial not in self._stopped:
            self.trials[trial] = None

    def finished(self, fact: Finished) -> None:
        """No trial goes on."""
        self.trials.clear()
