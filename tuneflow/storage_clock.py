"""The time by the clock that stamps a storage's objects."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

from tuneflow.errors import StorageError
from tuneflow.store import Store

_COUNTING: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Return seconds since a fixed moment, those in which this machine slept among them.

    By a clock that stops in a sleep, what is old would seem young, and be relied on.
    """
    return time.clock_gettime(_COUNTING)


class StorageClock:
    """The storage's time. How old an object is must not depend on the clock of who asks.

    The first question writes an object, looks at it and removes it. From then on a clock of this
    machine that is never set counts on.

    Args:
        store: the storage.
        elapsed: seconds since any fixed moment. Default: `uptime`.
        wall: this machine's time, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        elapsed: Callable[[], float] = uptime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.elapsed = elapsed
        self._wall = wall
        self._store = store
        self._offset: float | None = None
        self._asking = threading.Lock()

    def now(self) -> float:
        """Return the storage's time, in seconds since 1970; rather too late than too early."""
        with self._asking:
            if self._offset is None:
                self._offset = self._ask()
        return self.elapsed() + self._offset

    def window(self, seconds: float) -> int:
        """Return the number of the present window of so many seconds, by this machine's clock."""
        return int(self._wall() // seconds)

    def _ask(self) -> float:
        key = f"probe-{uuid.uuid4().hex}"
        before = self.elapsed()
        self._store.put(key, b"")
        try:
            stat = self._store.stat(key)
        finally:
            self._store.delete([key])
        if stat is None:
            raise StorageError(f"{self._store.url} does not show an object that was just written")
        return stat.modified - before
