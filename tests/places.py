"""Places for studies to run at: a simulated cluster, and a storage that fails on command."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from typing import Any

from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.job import Job
from tuneflow.journal import Journal
from tuneflow.objective.python import PythonObjective
from tuneflow.opened import OpenStudy
from tuneflow.store import Store
from tuneflow.study import Study


def curve(config: dict[str, Any], resource: float) -> float:
    """Return a metric that falls with the resource, to what the configuration allows."""
    return config["x"] + 1 / resource


def simulated(
    metric: Callable[[dict[str, Any], float], Any] = curve,
    *,
    kind: type[SimulatedExecutor] = SimulatedExecutor,
    **settings: Any,
) -> SimulatedExecutor:
    """Return a simulated cluster that is open."""
    executor = kind(**settings)
    executor.open(Job(storage="", metric="loss"), PythonObjective(metric))
    return executor


def new_url() -> str:
    return f"memory://{uuid.uuid4().hex}"


def open_study(study: Study, store: Store) -> OpenStudy:
    """Return a study as it is found in a store, which may be of any class."""
    opened = OpenStudy(study, store, Journal(store), study.history())
    opened.refresh()
    return opened


def journal_bytes(store: Store) -> list[bytes | None]:
    return store.get_many(store.list("journal"))


class PowerCut(BaseException):
    """Not an error that anybody handles."""


class CrashingStore(Store):
    """A store in which the power fails, once, before or after its n-th call."""

    at: int | None = None
    after: bool = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._calls = itertools.count()
        self._depth = 0

    def _guarded(self, call: Callable[..., Any], *args: Any) -> Any:
        if self._depth:
            return call(*args)
        is_now = next(self._calls) == self.at
        if is_now and not self.after:
            raise PowerCut
        self._depth += 1
        try:
            result = call(*args)
        finally:
            self._depth -= 1
        if is_now:
            raise PowerCut
        return result

    def create(self, path: str, data: bytes) -> None:
        return self._guarded(super().create, path, data)

    def put(self, path: str, data: bytes) -> None:
        return self._guarded(super().put, path, data)

    def get(self, path: str) -> bytes:
        return self._guarded(super().get, path)

    def get_many(self, paths: Any) -> Any:
        return self._guarded(super().get_many, paths)

    def list(self, prefix: str = "", after: str = "") -> Any:
        return self._guarded(super().list, prefix, after)


def crashes(url: str, n: int, after: bool) -> CrashingStore:
    store = CrashingStore(url)
    store.at, store.after = n, after
    return store
