"""End what a Dask cluster does for a study; the study stays, and can be gone on with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tuneflow.opened import OpenStudy
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.orders import driver_key, segment_key, study_key
from tuneflow.remote.submission import ATTEMPT, UNDER_WAY

_ENDING = 15.0
"""Seconds to wait for trials to come to a report; a driver gives them five."""

_LOOK = 0.25

_ATTEMPTS = range(1, 10)
"""The tries of a segment that an orchestrator may have ordered."""


@dataclass(frozen=True)
class Cancelled:
    """What there was to end.

    Attributes:
        drivers: how many drivers were told to end.
        trials: how many trials that an orchestrator had ordered were told to end.
        still_running: workers on which any of them still ran in the end: a trial ends at its next
            report.
    """

    drivers: int
    trials: int
    still_running: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def cancel(opened: OpenStudy, address: ClusterAddress, *, patience: float = _ENDING) -> Cancelled:
    """End the driver of a study and its trials, and wait until they have.

    No trial that runs gets an outcome: the study can be gone on with, from its newest checkpoints.
    It is no error if there is nothing to end.

    Args:
        opened: the study.
        address: the cluster.
        patience: seconds to wait.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    with Cluster(address, None) as cluster:
        keys = _keys(cluster, opened)
        if not keys:
            return Cancelled(0, 0)
        drivers = [key for key in keys if key.startswith(driver_prefix(opened.url))]
        cluster.cancel(keys)
        left = _await_end(cluster, keys, patience)
    return Cancelled(len(drivers), len(keys) - len(drivers), left)


def driver_of(cluster: Cluster, url: str) -> str | None:
    """Return the worker that the driver of a study runs on, "" if it waits for one, or None."""
    running = cluster.running(driver_prefix(url))
    if running:
        return next(iter(running.values()))
    state = cluster.states([driver_key(url, ATTEMPT)])
    return None if not _living(state) else ""


def driver_prefix(url: str) -> str:
    """Return what the keys of a study's drivers begin with."""
    return f"{study_key(url)}-driver-"


def _keys(cluster: Cluster, opened: OpenStudy) -> list[str]:
    """Return the keys of what runs for a study, or waits to."""
    url = opened.url
    ordered = [
        segment_key(url, *segment.key, attempt)
        for segment in opened.history.open_segments()
        for attempt in _ATTEMPTS
    ]
    waiting = _living(cluster.states([driver_key(url, ATTEMPT), *ordered]))
    return sorted({*waiting, *cluster.running(f"{study_key(url)}-")})


def _living(states: dict[str, str]) -> list[str]:
    return [key for key, state in states.items() if state in UNDER_WAY]


def _await_end(cluster: Cluster, keys: Sequence[str], patience: float) -> tuple[str, ...]:
    """Wait until no worker does anything for these orders; return those that still do."""
    deadline = time.monotonic() + patience
    while (left := _told(cluster, keys)) and time.monotonic() < deadline:
        time.sleep(_LOOK)
    return left


def _told(cluster: Cluster, keys: Sequence[str]) -> tuple[str, ...]:
    """Tell orders to end, also those that had just begun; return the workers that have any."""
    from tuneflow.remote import work

    answers = cluster.ask(work.tell_all, keys)
    return tuple(worker for worker, is_busy in answers.items() if is_busy)
