"""What runs in the processes of Dask workers."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from tuneflow.executors.dask_shipment import Shipment, keep
from tuneflow.executors.devices import VARIABLE, Allocator, visible_devices
from tuneflow.trial import Report, Segment
from tuneflow.worker import Control, How, Job, run_segment, stop_segment

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

    def say(**message: Any) -> None:
        worker.log_event(topic, {"launch": launch, "worker": worker.address, **message})

    def emit(report: Report) -> None:
        say(report=report.to_json())

    kept = keep(shipment, ident)
    say()
    job, objective = kept.open()
    with _devices(job, gpu) as equipped:
        outcome = run_segment(
            equipped,
            objective,
            Segment.from_json(segment),
            emit=emit,
            control=Control(),
            worker=str(worker.name),
        )
    if outcome is not None:
        say(outcome=outcome.to_json())


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


def tell(storage: str, trial: int, segment: int, how: How) -> bool:
    """Tell a segment to end if it runs in this process; return whether it does."""
    return stop_segment(storage, trial, segment, how)


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
