"""Have the trials of a round run, so many at once, and be told of each that ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import Any, TypeAlias

Item: TypeAlias = Mapping[str, Any]
"""A trial's ``trial``, ``segment`` and ``label``."""


class FanOut:
    """Submits trials, and waits for them.

    Args:
        begin: submits one and returns its Prefect future.
        limit: how many may be under way at once, or None.

    Attributes:
        running: what is under way: futures to their trials.
    """

    def __init__(self, begin: Callable[[Item], Any], limit: int | None) -> None:
        self.running: dict[Any, Item] = {}
        self._begin = begin
        self._limit = limit
        self._ended: SimpleQueue[Any] = SimpleQueue()

    def run(self, items: Iterable[Item], heard: Callable[[Item, Any], None]) -> None:
        """Have trials run, in their order, until all have ended.

        Args:
            items: the trials.
            heard: told of each that has ended, and its future, in this thread.
        """
        waiting = deque(items)
        while waiting or self.running:
            while waiting and self._has_room():
                self._submit(waiting.popleft())
            future = self._ended.get()
            heard(self.running.pop(future), future)

    def _has_room(self) -> bool:
        return self._limit is None or len(self.running) < self._limit

    def _submit(self, item: Item) -> None:
        future = self._begin(item)
        self.running[future] = item
        future.add_done_callback(self._ended.put)
