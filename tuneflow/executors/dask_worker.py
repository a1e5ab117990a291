"""What runs in the processes of Dask workers."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from tuneflow.executors.dask_shipment import Shipment, keep
from tuneflow.executors.devices import VARIABLE, Allocator, visible_devices
from tuneflow.trial import Segment
from tuneflow.worker import Control, How, Job, run_segment

if TYPE_CHECKING:
    from distributed import Worker


def run(
    shipment: Shipment | None,
    *,
    ident: str,
    launch: int,
    segment: dict[str, Any],
    topic: str,
    gpu: float = 0,
) -> None:
    """Run a segment, saying on ``topic`` where it began, what it reports and how it ended.

    Args:
        shipment: what to run it with; None where this process has it.
        ident: of the shipment.
        launch: the driver's number for this launch, which every message carries.
        segment: the segment's JSON.
        topic: the driver's topic.
        gpu: how much of the worker's GPUs it was promised.
    """
    worker = get_worker()
    line = _Line(worker, topic, launch)
    kept = keep(shipment, ident)
    with _listening(topic, launch) as control:
        line.say()
        job, objective = kept.open()
        with _devices(job, gpu) as equipped:
            outcome = run_segment(
                equipped,
                objective,
                Segment.from_json(segment),
                emit=lambda report: line.say(report.to_json()),
                control=control,
                worker=str(worker.name),
            )
    if outcome is not None:
        line.say(outcome=outcome.to_json())


class _Line:
    """What a segment says to its driver: in order, and together what comes close together."""

    def __init__(self, worker: Worker, topic: str, launch: int) -> None:
        self._worker = worker
        self._topic = topic
        self._launch = launch
        self._lock = threading.Lock()
        self._unsent: dict[str, Any] | None = None

    def say(
        self, report: dict[str, Any] | None = None, outcome: dict[str, Any] | None = None
    ) -> None:
        """Send a report, an outcome, or that the segment has begun; never waits."""
        with self._lock:
            is_first = self._unsent is None
            if self._unsent is None:
                self._unsent = {"reports": [], "outcome": None}
            if report is not None:
                self._unsent["reports"].append(report)
            self._unsent["outcome"] = outcome
        if is_first:
            # The end of the task is told by the same loop, and so after this.
            self._worker.loop.add_callback(self._send)

    def _send(self) -> None:
        with self._lock:
            said, self._unsent = self._unsent, None
        about = {"launch": self._launch, "worker": self._worker.address}
        self._worker.log_event(self._topic, {**about, **(said or {})})


@contextmanager
def _devices(job: Job, gpu: float) -> Iterator[Job]:
    """Let a trial in a process of its own see only the devices that are lent to it."""
    allocator = _allocator() if gpu and job.isolation == "process" else None
    if allocator is None or allocator.count < 2:
        yield job
        return
    with allocator.lend(gpu) as names:
        # A trial kept for later would keep memory of devices that are others' by then.
        yield replace(job, env={**job.env, VARIABLE: ",".join(names)}, warm=0)


@functools.cache
def _allocator() -> Allocator:
    return Allocator(visible_devices())


# By launch: another driver that has taken the study over may run the same segment here.
_controls: dict[tuple[str, int], Control] = {}


@contextmanager
def _listening(topic: str, launch: int) -> Iterator[Control]:
    """Let `tell` reach a launch meanwhile."""
    control = _controls[topic, launch] = Control()
    try:
        yield control
    finally:
        del _controls[topic, launch]


def tell(topic: str, launch: int, how: How) -> bool:
    """Tell a launch to end if it runs in this process; return whether it does."""
    control = _controls.get((topic, launch))
    if control is not None:
        control.request(how)
    return control is not None


def versions() -> dict[str, str]:
    """Return the versions that driver and workers must agree on."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "tuneflow": _version(),
    }


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C to the driver: a terminal sends it to all of its processes at once.

    This is a preload of the workers that we start ourselves; Dask calls it in the main thread.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _version() -> str:
    try:
        return importlib.metadata.version("tuneflow")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
