"""How a running segment is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

How: TypeAlias = Literal["preempt", "stop", "abandon"]
"""How to end, from the mildest to the strongest.

"preempt" saves a checkpoint at the next report and ends without an outcome, so that the segment
goes on elsewhere from there; "stop" ends with the outcome "stopped"; "abandon" with none, at once.
"""

_STRENGTH: Final = {None: 0, "preempt": 1, "stop": 2, "abandon": 3}


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
        """Ask for an end; the strongest that was asked for counts."""
        with self._lock:
            if _STRENGTH[how] > _STRENGTH[self.requested]:
                self.requested = how
            if self._wake is not None:
                self._wake()

    def stop(self) -> None:
        """End at the next report, as stopped."""
        self.request("stop")

    def preempt(self) -> None:
        """End without an outcome, at a checkpoint if there is time for one."""
        self.request("preempt")

    def abandon(self) -> None:
        """End without an outcome."""
        self.request("abandon")

    def on_request(self, wake: Callable[[], None] | None) -> None:
        """Call ``wake`` at each request from now on; None ends that."""
        with self._lock:
            self._wake = wake
