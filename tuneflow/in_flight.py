"""Many transfers at once, within a fixed amount of memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

AT_ONCE: Final = 8
"""Transfers at once where each waits for a network."""

WRITES_AT_ONCE: Final = 4
"""Files that are written at once where each waits for a disk."""

COPIES_AT_ONCE: Final = max(1, min(AT_ONCE, (os.cpu_count() or 1) // 2))
"""Files that are copied at once where nothing but the processor is waited for."""

IN_MEMORY: Final = 16 << 20
"""The bytes that all transfers of one save may hold in memory.

With what the libraries below hold beside it, a save or a restore takes less than twice as much.
"""


class Budget:
    """Bytes that may be held at once. Who wants more than there are waits, in the order of asking.

    Args:
        limit: the bytes.
    """

    def __init__(self, limit: int = IN_MEMORY) -> None:
        self._limit = self._free = limit
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes while the block runs, or all there are if it is more."""
        wanted, ticket = min(size, self._limit), object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket and self._free >= wanted)
            self._queue.popleft()
            self._give(-wanted)
        try:
            yield
        finally:
            with self._changed:
                self._give(wanted)

    def _give(self, size: int) -> None:
        self._free += size
        self._changed.notify_all()
