"""Suspended streams, kept a moment so that a trial's next segment goes on without a reload."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.objective.stream import Objective
from tuneflow.trial import Params, Report, Resource, Segment

CAPACITY = 2
"""How many suspended trials a process keeps; each holds all its memory."""


@dataclass(frozen=True, eq=False)
class WarmTrial:
    """A trial that waits at its last report.

    Attributes:
        trial: what runs it, as the worker left it.
        objective: the user's code that it runs.
        params: the configuration it runs with.
        resources: what its segments occupied, where that is not what the study says.
        start: the level it began at.
        checkpoint: reference of the checkpoint it began from, or None.
        reports: all that it reported since, through all its segments.
        close: ends it.
    """

    trial: Any
    objective: Objective
    params: Params
    resources: Mapping[str, Any] | None
    start: Resource
    checkpoint: str | None
    reports: tuple[Report, ...]
    close: Callable[[], object]

    def replay(self, objective: Objective, segment: Segment) -> tuple[Report, ...] | None:
        """Return which of its reports belong to ``segment`` if it may go on with that, else None.

        It may when the segment starts from where this trial began, or from a checkpoint that it
        made on the way. A trial without checkpoints always starts from nothing: the reports that
        a fresh run would repeat are taken as they are. A clone starts from another's checkpoint.
        One with other parameters, or more GPUs, could not take notice of them.
        """
        same = (segment.params, segment.resources) == (self.params, self.resources)
        if objective is not self.objective or not same:
            return None
        if (segment.checkpoint, segment.start) == (self.checkpoint, self.start):
            return tuple(report for report in self.reports if report.resource > self.start)
        for index, report in enumerate(self.reports, start=1):
            if segment.checkpoint is not None and report.checkpoint == segment.checkpoint:
                return self.reports[index:]
        return None


class WarmTrials:
    """The suspended trials of a process, by study and number; each may be taken once.

    Args:
        capacity: when there are more, the one that has waited longest is closed.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, int], tuple[float, WarmTrial]] = OrderedDict()
        self._doomed: list[WarmTrial] = []
        self._changed = threading.Condition()
        self._reaper: threading.Thread | None = None

    def put(self, study: str, number: int, trial: WarmTrial, seconds: float) -> None:
        """Keep a trial for some seconds."""
        with self._changed:
            replaced = self._kept.pop((study, number), None)
            self._kept[study, number] = (time.monotonic() + seconds, trial)
            if replaced:
                self._doomed.append(replaced[1])
            while len(self._kept) > self._capacity:
                self._doomed.append(self._kept.popitem(last=False)[1][1])
            self._start_reaper()
            self._changed.notify()

    def take(self, study: str, number: int) -> WarmTrial | None:
        """Return the trial, which is the caller's to close from now on, or None."""
        with self._changed:
            kept = self._kept.pop((study, number), None)
        return kept[1] if kept else None

    def clear(self) -> None:
        """Close all, and wait for that."""
        with self._changed:
            trials = [trial for _, trial in self._kept.values()] + self._doomed
            self._kept.clear()
            self._doomed.clear()
        _close(trials)

    def _start_reaper(self) -> None:
        if self._reaper is None or not self._reaper.is_alive():
            self._reaper = threading.Thread(target=self._reap, name="warm-trials", daemon=True)
            self._reaper.start()

    def _reap(self) -> None:
        """Close what is too old or too many, in a thread, since clean-up may take a while."""
        while True:
            with self._changed:
                self._changed.wait(self._seconds_left())
                doomed = self._expired() + self._doomed
                self._doomed = []
            _close(doomed)

    def _seconds_left(self) -> float | None:
        if self._doomed:
            return 0
        ends = [end for end, _ in self._kept.values()]
        return max(min(ends) - time.monotonic(), 0) if ends else None

    def _expired(self) -> list[WarmTrial]:
        now = time.monotonic()
        keys = [key for key, (end, _) in self._kept.items() if end <= now]
        return [self._kept.pop(key)[1] for key in keys]


def _close(trials: list[WarmTrial]) -> None:
    for trial in trials:
        # One trial's clean-up must not keep the others open.
        with contextlib.suppress(Exception):
            trial.close()


warm_trials = WarmTrials()
_owner = os.getpid()


@atexit.register
def _close_all() -> None:
    if os.getpid() == _owner:
        warm_trials.clear()
