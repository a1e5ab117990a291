"""How many trials of a kind run in a worker process at once.

Dask gives each task a thread. It knows nothing of trials that take several, or of memory that a
worker has but does not declare as a resource, so such trials wait here for one another.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tuneflow.executors.placement import Place, Request
from tuneflow.objective.control import Control


class Room:
    """What trials have taken of one worker process; safe from any thread.

    Attributes:
        waiting: how many trials wait until there is room for them.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._taken: Counter[Request] = Counter()
        self._changed = threading.Condition()

    @property
    def is_free(self) -> bool:
        """Whether no trial has taken anything."""
        return not self._taken

    @contextmanager
    def taken(self, place: Place, request: Request, control: Control) -> Iterator[None]:
        """Take the room of one trial, waiting until it is free or the trial is to end.

        Args:
            place: what the worker has.
            request: what the trial takes of it; if that is more than all, it takes all.
            control: of the trial.
        """

        def may_begin() -> bool:
            return bool(control.requested) or self.is_free or self._has_room(place, request)

        control.on_request(self._wake)
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(may_begin)
            self.waiting -= 1
            self._taken[request] += 1
        control.on_request(None)
        try:
            yield
        finally:
            with self._changed:
                self._taken[request] -= 1
                self._taken = +self._taken
                self._changed.notify_all()

    def _has_room(self, place: Place, request: Request) -> bool:
        return place.room_for(request, self._taken) > 0

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
