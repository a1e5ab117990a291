"""What the stoppers of a study have decided, as an index of the facts."""

from __future__ import annotations

from typing import TypeAlias

from tuneflow.events import Closed, Finished, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.schedulers.base import Stop
from tuneflow.stoppers.base import Stopper
from tuneflow.stoppers.combined import Combined

Stoppers: TypeAlias = tuple[Stopper, ...]
"""The stoppers of a study; what any of them says is done."""


def next_stop(stoppers: Stoppers, history: History) -> Stop | None:
    """Return the next trial that a stopper ends, or None."""
    rejected = _verdicts(stoppers, history).rejected if stoppers else {}
    return next((Stop(trial, reason) for trial, reason in rejected.items()), None)


def ending(stoppers: Stoppers, history: History) -> str | None:
    """Return why a stopper ends the whole study, or None."""
    return _verdicts(stoppers, history).ending() if stoppers else None


def _verdicts(stoppers: Stoppers, history: History) -> _Verdicts:
    return history.index(("stop", stoppers), lambda: _Verdicts(Combined(stoppers), history))


class _Verdicts(Index):
    """The trials to be stopped, each with the reason, until they are told or have ended."""

    def __init__(self, stopper: Stopper, history: History) -> None:
        self._watch = stopper.watch(history)
        self._limit = history.max_resource
        self._over: set[int] = set()
        self.rejected: dict[int, str] = {}

    def ending(self) -> str | None:
        """Return why the whole study is to end, or None."""
        return self._watch.ending()

    def launched(self, fact: Launched) -> None:
        """The trial is under way, possibly once more."""
        self._over.discard(fact.trial)

    def reported(self, fact: Reported) -> None:
        """Ask what is to become of the trial."""
        reason = self._watch.report(fact.trial, fact.report)
        if self._limit is not None and fact.report.resource >= self._limit:
            self._end(fact.trial)
        elif reason is not None and fact.trial not in self._over:
            self.rejected.setdefault(fact.trial, reason)

    def stopped(self, fact: Stopped) -> None:
        """The trial has been told."""
        self._end(fact.trial)

    def closed(self, fact: Closed) -> None:
        """The trial has ended by itself, unless it is paused or tried again."""
        if fact.status != "paused" and not fact.retry:
            self._end(fact.trial)

    def finished(self, fact: Finished) -> None:
        """All trials have ended."""
        self.rejected.clear()

    def _end(self, trial: int) -> None:
        self._over.add(trial)
        self.rejected.pop(trial, None)
