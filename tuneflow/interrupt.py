"""Ctrl-C that never tears a commit apart.

Python raises KeyboardInterrupt between any two instructions. Here SIGINT and SIGTERM are only
noted, and are raised where the driver waits and nothing is half done. The second signal is
raised at once, for a driver that does not come to its wait. SIGTERM is raised as `Terminated`.

A driver that is no process of its own gets no signal. Another thread interrupts it by `request`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(SystemExit, KeyboardInterrupt):
    """The driver is to end, because its machine is needed or is taken away.

    Whatever deals with Ctrl-C deals with it too; a script that does not ends with status 143, as
    programs do that SIGTERM ends.
    """

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Interrupts:
    """Notes signals and requests, and raises KeyboardInterrupt where it is allowed."""

    def __init__(self) -> None:
        self._count = 0
        self._is_terminated = False
        self._is_allowed = False
        self._wake: Callable[[], None] | None = None

    @contextmanager
    def installed(self) -> Iterator[Interrupts]:
        """Handle SIGINT and SIGTERM meanwhile; does nothing outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before: dict[int, Any] = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield self
        finally:
            for number, handler in before.items():
                # One that Python does not know of cannot be put back.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal that has come, or comes meanwhile, raise KeyboardInterrupt."""
        self._is_allowed = True
        try:
            if self._count:
                raise self._interruption()
            yield
        finally:
            self._is_allowed = False

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Let `request` call this meanwhile, to end the driver's wait early."""
        self._wake = wake
        try:
            yield
        finally:
            self._wake = None

    def request(self, *, is_terminated: bool = False) -> None:
        """Raise KeyboardInterrupt in the driver where it waits next; safe from any thread.

        Args:
            is_terminated: raise `Terminated`.
        """
        self._count += 1
        self._is_terminated |= is_terminated
        wake = self._wake
        if wake is not None:
            wake()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        self._is_terminated |= number == signal.SIGTERM
        if self._is_allowed or self._count > 1:
            raise self._interruption()

    def _interruption(self) -> KeyboardInterrupt:
        return Terminated() if self._is_terminated else KeyboardInterrupt()
