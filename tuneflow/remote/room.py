"""How many trials of a kind run in a worker process at once.

Dask gives each task a thread. It knows nothing of trials that take several, or of memory that a
worker has but does not declare as a resource, so such trials wait here for one another.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tuneflow.executors.placement import Place, Request
from tuneflow.objective.control import Control

# Thirds do not add up to 1 in floats.
_EPSILON = 1e-6


class Room:
    """What trials have taken of one worker process; safe from any thread.

    Attributes:
        waiting: how many trials wait until there is room for them.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._taken = 0.0
        self._changed = threading.Condition()

    @property
    def free(self) -> float:
        """The part of the worker that is free, from 0 to 1."""
        return 1 - self._taken

    @contextmanager
    def taken(self, place: Place, request: Request, control: Control) -> Iterator[None]:
        """Take the room of one trial, waiting until it is free or the trial is to end.

        Args:
            place: what the worker has.
            request: what the trial takes of it; if that is more than all, it takes all.
            control: of the trial.
        """
        share = 1 / max(1, place.room_for(request))
        control.on_request(self._wake)
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(lambda: control.requested or share < self.free + _EPSILON)
            self.waiting -= 1
            self._taken += share
        control.on_request(None)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= share
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
