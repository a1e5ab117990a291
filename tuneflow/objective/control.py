"""How a running segment is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

How: TypeAlias = Literal["stop", "abandon"]
"""End with the outcome "stopped", or without any, so that the segment can be run again."""


class Control:
    """Tells one running segment to stop; safe from any thread.

    Attributes:
        requested: what was asked for so far, or None.
    """

    def __init__(self) -> None:
        self.requested: How | None = None
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def request(self, how: How) -> None:
        """Ask for an end; "abandon" outweighs "stop"."""
        with self._lock:
            if self.requested != "abandon":
                self.requested = how
            if self._wake is not None:
                self._wake()

    def stop(self) -> None:
        """End at the next report, as stopped."""
        self.request("stop")

    def abandon(self) -> None:
        """End without an outcome."""
        self.request("abandon")

    def on_request(self, wake: Callable[[], None] | None) -> None:
        """Call ``wake`` at each request from now on; None ends that."""
        with self._lock:
            self._wake = wake


Key: TypeAlias = tuple[str, int, int]
_running: dict[Key, list[Control]] = {}
_lock = threading.Lock()


@contextmanager
def registered(key: Key, control: Control) -> Iterator[None]:
    """Let `stop_segment` find a control while its segment runs."""
    with _lock:
        _running.setdefault(key, []).append(control)
    try:
        yield
    finally:
        with _lock:
            _running[key].remove(control)
            if not _running[key]:
                del _running[key]


def stop_segment(storage_url: str, trial: int, segment: int, how: How) -> bool:
    """Tell a segment to stop if it runs in this process; return whether it does.

    Args:
        storage_url: the study's URL, as in its `Job`.
        trial: the trial's number.
        segment: the segment's number.
        how: "stop" or "abandon"; see `Control`.
    """
    with _lock:
        found = list(_running.get((storage_url, trial, segment), ()))
    for control in found:
        control.request(how)
    return bool(found)
