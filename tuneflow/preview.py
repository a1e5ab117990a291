"""What a round looks like while it runs.

In rounds the history learns of a round's reports when the round is over, all at once and in the
order of the trials. A person who watches wants to see them as they come. A preview is a second
history, for the eyes only: it takes in each message when it arrives, and each decision when it
is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tuneflow.events import Closed, Elapsed, Fact, Reported
from tuneflow.executors.base import Ended, Message
from tuneflow.history import History
from tuneflow.recording import record_outcome, record_report
from tuneflow.study import Study


class Preview:
    """Feeds a view with the messages of a round as they arrive.

    Args:
        study: the study.
        history: its history so far; it is copied.
        view: an observer, which sees the preview's history and its new facts.
    """

    def __init__(
        self,
        study: Study,
        history: History,
        view: Callable[[History, Sequence[Fact]], None],
    ) -> None:
        self._study = study
        self._view = view
        self._history = study.history()
        self._history.extend(history.facts)
        view(self._history, ())

    def hear(self, message: Message) -> None:
        """Take in what an executor said."""
        first = len(self._history.facts)
        if isinstance(message, Ended):
            record_outcome(self._study, self._history, message.outcome)
        else:
            record_report(self._history, message.trial, message.segment, message.report)
        self._show(first)

    def committed(self, history: History, facts: Sequence[Fact]) -> None:
        """Take in a commit; as an observer of the study."""
        first = len(self._history.facts)
        for fact in facts:
            if not self._is_known(fact):
                self._history.append(fact)
        self._show(first)

    def _is_known(self, fact: Fact) -> bool:
        """Whether a committed fact came as a message before."""
        if isinstance(fact, Reported):
            return fact.report.resource <= self._history.trials[fact.trial].resource
        return isinstance(fact, Closed) and fact.trial not in self._history.running

    def _show(self, first: int) -> None:
        facts = self._history.facts[first:]
        if facts and not all(isinstance(fact, Elapsed) for fact in facts):
            self._view(self._history, facts)
