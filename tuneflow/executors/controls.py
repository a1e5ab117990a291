"""Which segments run in this process, by whatever name they can be told to end."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from tuneflow.preemption import notices
from tuneflow.worker import Control, How


class Controls:
    """The controls of running segments, by key; safe from any thread.

    Two runs of the same key may overlap: one that was told to end and has not yet, and the next.
    """

    def __init__(self) -> None:
        self._running: defaultdict[Hashable, list[Control]] = defaultdict(list)
        self._lock = threading.Lock()

    @contextmanager
    def listening(self, key: Hashable, place: str | None = None) -> Iterator[Control]:
        """Let `tell` reach a run meanwhile, and notices of preemption.

        Args:
            key: of the run.
            place: the address of the Dask worker that it runs on, if it does.
        """
        control = Control()
        with self._lock:
            self._running[key].append(control)
        try:
            with notices.listening(control, place):
                yield control
        finally:
            with self._lock:
                self._running[key].remove(control)
                if not self._running[key]:
                    del self._running[key]

    def running(self) -> list[Hashable]:
        """Return the keys of what runs now."""
        with self._lock:
            return list(self._running)

    def tell(self, key: Hashable, how: How) -> bool:
        """Tell the runs of a key to end; return whether there are any."""
        with self._lock:
            controls = list(self._running.get(key, ()))
        for control in controls:
            control.request(how)
        return bool(controls)
