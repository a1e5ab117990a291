"""How a running segment is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
