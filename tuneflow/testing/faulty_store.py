"""A store that fails on command, to test what a failing storage does to a study."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tuneflow.errors import StorageError
from tuneflow.store import Store

CALLS: Final = frozenset(
    {
        "create",
        "add",
        "put",
        "upload",
        "download",
        "get",
        "get_many",
        "exists",
        "size",
        "stat",
        "stats",
        "stream",
        "list",
        "sweep",
        "delete",
        "probe",
    }
)
"""What of a store is counted, and may fail."""


class PowerCut(BaseException):
    """The process dies here: nobody handles this, and nothing is tidied up."""


@dataclass
class Fault:
    """What is to go wrong, once.

    Attributes:
        after_calls: how many calls of the store go well before. Default 0: the next one fails.
        is_done: whether the call that fails does what it was asked for all the same, as when the
            answer of a server is lost. Default False.
        error: what is raised instead of the answer: an error of the storage, or `PowerCut`.
    """

    after_calls: int = 0
    is_done: bool = False
    error: Callable[[], BaseException] = PowerCut


class FaultyStore(Store):
    """A store like any other, until it is told to fail.

    Calls are counted as their user sees them: what one call does inside counts as one. Safe from
    any thread.

    Attributes:
        calls: how many calls there were.
        is_away: while this is true, each call raises StorageError, and does nothing.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.calls = 0
        self.is_away = False
        self._fault: Fault | None = None
        self._lock = threading.Lock()
        self._inside = threading.local()

    def plan(self, fault: Fault | None) -> None:
        """Let something go wrong; it takes the place of what was planned before."""
        with self._lock:
            self._fault = fault

    @property
    def is_planned(self) -> bool:
        """Whether something is still to go wrong."""
        return self._fault is not None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found
        if name == "get_many":
            found = self._one_by_one

        def call(*arguments: Any, **named: Any) -> Any:
            return self._call(found, *arguments, **named)

        return call

    def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if getattr(self._inside, "is_set", False):
            return method(*arguments, **named)
        fault = self._count()
        if self.is_away:
            raise StorageError(f"{self.url} is away")
        if fault is not None and not fault.is_done:
            raise fault.error()
        self._inside.is_set = True
        try:
            answer = method(*arguments, **named)
        finally:
            self._inside.is_set = False
        if fault is not None:
            raise fault.error()
        return answer

    def _one_by_one(self, paths: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of many objects; in this thread, as the whole counts as one call."""
        return [self._stored(path) for path in paths]

    def _count(self) -> Fault | None:
        """Count a call; return what is to go wrong with it."""
        with self._lock:
            self.calls += 1
            fault = self._fault
            if fault is None:
                return None
            fault.after_calls -= 1
            if fault.after_calls >= 0:
                return None
            self._fault = None
            return fault


def lost_answer() -> Fault:
    """Return a fault: the next call is done, and its answer lost."""
    return Fault(is_done=True, error=lambda: StorageError("the answer was lost"))
