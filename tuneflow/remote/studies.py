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
        self._opened: OrderedDict[str, OpenStudy] = OrderedDict()
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
        opened = self._opened.pop(url, None)
        if opened is None or not _is_as_read(opened):
            opened = OpenStudy.open(url)
        self._opened[url] = opened
        while len(self._opened) > self._capacity:
            self._opened.popitem(last=False)
        return opened


def _latest(opened: OpenStudy, trial: int) -> int:
    """Return the number of a trial's latest segment; -1 when there is no such trial."""
    trials = opened.history.trials
    return trials[trial].segment if trial < len(trials) else -1


def _segment(opened: OpenStudy, trial: int) -> Segment:
    return opened.history.segment(opened.history.trials[trial])


def _is_as_read(opened: OpenStudy) -> bool:
    """Return whether the newest entry that was read is still there as it was.

    It is not when the study was deleted, and another one was begun under its name.
    """
    number = opened.journal.next_number - 1
    [data] = opened.store.get_many([entry_path(max(number, 0))])
    if data is None:
        return number < 0
    _, *facts, _ = data.decode().splitlines()
    return facts == [encode(fact) for fact in opened.history.facts[-len(facts) :]]
