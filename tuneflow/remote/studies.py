"""The studies that a worker process has read, so that not every order reads a whole journal."""

from __future__ import annotations

import threading
from collections import OrderedDict

from tuneflow.errors import CorruptError
from tuneflow.events import encode
from tuneflow.journal import entry_path
from tuneflow.opened import OpenStudy
from tuneflow.trial import Segment


class Studies:
    """Studies by URL; safe from any thread.

    Args:
        capacity: when there are more, the one that was used longest ago is dropped.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._opened: OrderedDict[str, _Read] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, url: str, trial: int, segment: int) -> tuple[OpenStudy, Segment | None]:
        """Return a study, and one of its segments; None in place of one that is long over.

        Raises:
            StudyNotFoundError: there is no study.
            CorruptError: its journal has no such segment.
        """
        with self._lock:
            opened = self._get(url)
            if _latest(opened, trial) < segment:
                opened.refresh()
            if _latest(opened, trial) < segment:
                raise CorruptError(
                    f"the journal of {url} has no segment {segment} of trial {trial}; the study "
                    "was deleted, or its storage shows old data"
                )
            is_over = _latest(opened, trial) > segment
            return opened, None if is_over else _segment(opened, trial)

    def _get(self, url: str) -> OpenStudy:
        read = self._opened.pop(url, None)
        if read is None or not read.is_as_stored():
            read = _Read(OpenStudy.open(url))
        self._opened[url] = read
        while len(self._opened) > self._capacity:
            self._opened.popitem(last=False)
        return read.opened


class _Read:
    """A study as it was read.

    Args:
        opened: the study.
    """

    def __init__(self, opened: OpenStudy) -> None:
        self.opened = opened
        self._known: tuple[int, bytes] | None = None

    def is_as_stored(self) -> bool:
        """Return whether the newest entry that was read is still there as it was.

        It is not when the study was deleted, and another one was begun under its name.
        """
        number = self.opened.journal.next_number - 1
        [data] = self.opened.store.get_many([entry_path(max(number, 0))])
        if data is None:
            return number < 0
        # Every order of a round asks this, and its entry is as long as the round is large.
        if (number, data) == self._known:
            return True
        _, *facts, _ = data.decode().splitlines()
        is_same = facts == [encode(fact) for fact in self.opened.history.facts[-len(facts) :]]
        self._known = (number, data) if is_same else None
        return is_same


def _latest(opened: OpenStudy, trial: int) -> int:
    """Return the number of a trial's latest segment; -1 when there is no such trial."""
    trials = opened.history.trials
    return trials[trial].segment if trial < len(trials) else -1


def _segment(opened: OpenStudy, trial: int) -> Segment:
    return opened.history.segment(opened.history.trials[trial])
