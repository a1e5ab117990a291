"""Notices that a machine is about to be taken away, and the running trials that are told of them.

Spot machines, batch jobs and pods are ended with a notice of some seconds. `announce` passes it on
to the trials of this process: each saves a checkpoint at its next report and ends without an
outcome, so that it goes on elsewhere from there. What has not come to a report when the grace is
over is ended as it is.

Besides signals, which those who own the process handle, a notice may come as a file: the
environment variable ``TUNEFLOW_PREEMPTION_NOTICE`` names one, which is looked for every second
while trials run.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tuneflow.objective.control import Control

FILE: Final = "TUNEFLOW_PREEMPTION_NOTICE"
"""The environment variable that names the file whose existence is a notice."""

GRACE: Final = "TUNEFLOW_PREEMPTION_GRACE"
"""The environment variable with the seconds that trials have from a notice on."""

_DEFAULT_GRACE = 25.0
"""Kubernetes gives 30 seconds, and the process needs some to end."""

_LOOK = 1.0
"""Seconds between two looks for the file."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """This machine is about to be taken away.

    Attributes:
        reason: where that is known from.
        grace: seconds that trials have.
        place: the address of the Dask worker that it is about; None is the whole process.
    """

    reason: str
    grace: float
    place: str | None = None


def announce(reason: str, grace: float | None = None, place: str | None = None) -> Notice:
    """Have the trials of this process save a checkpoint and end; those that begin later end too.

    Safe from any thread, but not from a signal handler. There is no way back: a process whose
    machine stays after all is to be started anew.

    Args:
        reason: where that is known from, for people.
        grace: seconds that they have. Default: what ``TUNEFLOW_PREEMPTION_GRACE`` says, else 25.
        place: the address of a Dask worker in this process, to tell its trials alone.
    """
    notice = Notice(reason, grace_seconds() if grace is None else _bounded(grace), place)
    notices.announce(notice)
    return notice


def grace_seconds() -> float:
    """Return the seconds that trials have from a notice on."""
    text = os.environ.get(GRACE, "")
    try:
        seconds = float(text) if text.strip() else _DEFAULT_GRACE
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        logger.warning("%s=%s is no number of seconds; %g it is", GRACE, text, _DEFAULT_GRACE)
        return _DEFAULT_GRACE
    return _bounded(seconds)


def _bounded(seconds: float) -> float:
    """Return seconds that can be waited for."""
    return min(max(seconds, 0.0), threading.TIMEOUT_MAX)


class Notices:
    """The notices that came to a process, and the trials that run in it; safe from any thread."""

    def __init__(self) -> None:
        self._came: dict[str | None, Notice] = {}
        self._running: Counter[tuple[Control, str | None]] = Counter()
        self._hearing: list[Callable[[Notice], None]] = []
        self._lock = threading.RLock()
        self._watcher: threading.Thread | None = None

    def announce(self, notice: Notice) -> None:
        """Pass a notice on, unless it is known already."""
        with self._lock:
            if notice.place in self._came:
                return
            self._came[notice.place] = notice
            hearing, has_trials = list(self._hearing), bool(self._at(notice.place))
        if has_trials:
            logger.warning("preemption: %s; trials have %g s", notice.reason, notice.grace)
        self._tell("preempt", notice.place)
        if has_trials:
            # Those that begin from now on end at once.
            ending = threading.Timer(notice.grace, self._tell, ("abandon", notice.place))
            ending.daemon = True
            ending.start()
        for hear in hearing:
            hear(notice)

    def of(self, place: str | None = None) -> Notice | None:
        """Return the notice that concerns a place, or None."""
        with self._lock:
            return self._came.get(place) or self._came.get(None)

    def hear(self, callback: Callable[[Notice], None]) -> None:
        """Call ``callback`` with each notice from now on, and with those that came before."""
        with self._lock:
            self._hearing.append(callback)
            came = list(self._came.values())
            self._watch()
        for notice in came:
            callback(notice)

    def forget(self, callback: Callable[[Notice], None], place: str | None) -> None:
        """End what `hear` began, and drop the notices of a place that is gone."""
        with self._lock:
            if callback in self._hearing:
                self._hearing.remove(callback)
            if place is not None:
                self._came.pop(place, None)

    @contextmanager
    def listening(self, control: Control, place: str | None = None) -> Iterator[None]:
        """Tell a trial of notices meanwhile, and of one that came before."""
        with self._lock:
            self._running[control, place] += 1
            self._watch()
            came = self.of(place)
        if came is not None:
            control.preempt()
        try:
            yield
        finally:
            with self._lock:
                self._running[control, place] -= 1
                self._running = +self._running

    def is_over(self, place: str | None = None) -> bool:
        """Return whether no trial runs at a place, or anywhere in this process."""
        with self._lock:
            return not self._at(place)

    def _at(self, place: str | None) -> list[Control]:
        return [control for control, at in self._running if place is None or at == place]

    def _tell(self, how: Literal["preempt", "abandon"], place: str | None) -> None:
        with self._lock:
            controls = self._at(place)
        for control in controls:
            control.request(how)

    def _watch(self) -> None:
        """Look for the file from now on, if there is to be one.

        A process that was forked has no thread of the one before it.
        """
        is_watching = self._watcher is not None and self._watcher.is_alive()
        if os.environ.get(FILE) and None not in self._came and not is_watching:
            self._watcher = threading.Thread(target=self._look, name="preemption", daemon=True)
            self._watcher.start()

    def _look(self) -> None:
        while not (path := os.environ.get(FILE, "")) or not _is_there(path):
            time.sleep(_LOOK)
        announce(f"there is a notice at {path}")


def _is_there(path: str) -> bool:
    """Return whether there is such a file, as far as can be seen now."""
    try:
        return Path(path).exists()
    except OSError:
        return False


notices = Notices()
"""Those of this process."""
