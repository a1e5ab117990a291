"""What a worker says to its driver, gathered so that many messages travel as one event."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from tuneflow.jsonio import dumps

if TYPE_CHECKING:
    from distributed import Worker

# An event costs the worker, the scheduler and the driver some tenths of a millisecond each.
_PAUSE = 0.005


class Say(Protocol):
    """Says that a segment has begun, a report of it, its outcome, or that it was preempted."""

    def __call__(
        self,
        report: dict[str, Any] | None = None,
        outcome: dict[str, Any] | None = None,
        is_preempted: bool = False,
    ) -> None:
        """Say it; never waits."""


class Outbox:
    """Sends what segments say, in order: the first at once, then every 5 ms what has come.

    Leaving it as a context manager sends the rest, before the worker says that the task is over.

    Args:
        worker: where the segments run.
        topic: the driver's topic.
    """

    def __init__(self, worker: Worker, topic: str) -> None:
        self._worker = worker
        self._topic = topic
        self._lock = threading.Lock()
        self._unsent: list[dict[str, Any]] = []
        self._sent = time.monotonic() - _PAUSE
        self._is_due = False

    def say(
        self,
        launch: int,
        report: dict[str, Any] | None = None,
        outcome: dict[str, Any] | None = None,
        is_preempted: bool = False,
    ) -> None:
        """Say that a launch has begun, a report of it, how it ended; never waits."""
        with self._lock:
            said = self._about(launch)
            if report is not None:
                said["reports"].append(report)
            said["outcome"], said["preempted"] = outcome, is_preempted
            if self._is_due:
                return
            self._is_due = True
        if time.monotonic() >= self._sent + _PAUSE:
            self._send()
        else:
            self._worker.loop.add_callback(self._send_soon)

    def _about(self, launch: int) -> dict[str, Any]:
        """Return the unsent message about a launch, a new one if need be."""
        if not self._unsent or self._unsent[-1]["launch"] != launch:
            about = {"launch": launch, "worker": self._worker.address}
            self._unsent.append({**about, "reports": [], "outcome": None, "preempted": False})
        return self._unsent[-1]

    def _send_soon(self) -> None:
        self._worker.loop.call_later(_PAUSE, self._send)

    def _send(self) -> None:
        with self._lock:
            said, self._unsent = self._unsent, []
            self._is_due = False
            self._sent = time.monotonic()
            if said:
                # As text, which Dask passes on without a look at what is in it.
                self._worker.log_event(self._topic, dumps(said))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._send()
