"""What a scheduler or searcher keeps beyond the history: an index of the facts."""

from __future__ import annotations

from typing import Any

from tuneflow.events import (
    Closed,
    Elapsed,
    Exhausted,
    Fact,
    Finished,
    Halted,
    Launched,
    Opened,
    Reported,
    Stopped,
)


class Index:
    """A private view of the facts, kept up to date by the history.

    It has one method for each kind of fact; a subclass defines those it cares about. It may
    look at facts only, never at the history's present state: an index that is made late is fed
    all facts so far, and must come out like one that saw them happen.
    """

    def apply(self, fact: Fact) -> None:
        """Take in the next fact."""
        getattr(self, _METHODS[type(fact)])(fact)

    def launched(self, fact: Launched) -> None:
        """Take in that a segment was handed out."""

    def reported(self, fact: Reported) -> None:
        """Take in a report."""

    def stopped(self, fact: Stopped) -> None:
        """Take in that a trial was told to stop."""

    def closed(self, fact: Closed) -> None:
        """Take in that a segment ended."""

    def exhausted(self, fact: Exhausted) -> None:
        """Take in that there will be no new trial."""

    def finished(self, fact: Finished) -> None:
        """Take in that nothing more will be launched."""

    def halted(self, fact: Halted) -> None:
        """Take in that nothing is launched until the study is opened again."""

    def opened(self, fact: Opened) -> None:
        """Take in that a driver took the study over."""

    def elapsed(self, fact: Elapsed) -> None:
        """Take in the time spent."""


_METHODS: dict[type[Any], str] = {
    Launched: "launched",
    Reported: "reported",
    Stopped: "stopped",
    Closed: "closed",
    Exhausted: "exhausted",
    Finished: "finished",
    Halted: "halted",
    Opened: "opened",
    Elapsed: "elapsed",
}
