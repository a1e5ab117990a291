"""What runs in the processes of Dask workers."""

from __future__ import annotations

import functools
import importlib.metadata
import math
import platform
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from tuneflow.executors.controls import Controls
from tuneflow.executors.dask_outbox import Outbox, Say
from tuneflow.executors.dask_preemption import attach, leave_to_driver
from tuneflow.executors.dask_shipment import Shipment, keep
from tuneflow.executors.devices import Allocator, lent, visible_devices
from tuneflow.preemption import notices
from tuneflow.trial import Report, Segment
from tuneflow.worker import Control, How, Job, run_segment

if TYPE_CHECKING:
    from distributed import Worker


def run(
    shipment: Shipment | None,
    *,
    ident: str,
    batch: Sequence[tuple[int, dict[str, Any]]],
    topic: str,
    gpu: float = 0,
) -> None:
    """Run segments one after another, saying where each began, what it reports and how it ended.

    Args:
        shipment: what to run them with; None where this process has it.
        ident: of the shipment.
        batch: the driver's number for each launch, which its messages carry, and the segment's
            JSON.
        topic: the driver's topic.
        gpu: how much of the worker's GPUs each was promised.
    """
    kept, worker = keep(shipment, ident), get_worker()
    attach(worker)
    with ExitStack() as stack:
        # Those that wait for others can be told to end as well.
        controls = [
            stack.enter_context(_controls.listening((topic, launch), worker.address))
            for launch, _ in batch
        ]
        outbox = stack.enter_context(Outbox(worker, topic))
        for (launch, data), control in zip(batch, controls, strict=True):
            say = functools.partial(outbox.say, launch)
            _run_one(kept, Segment.from_json(data), control, say, gpu)
            if control.requested == "preempt":
                # The machine goes or the driver does, so nothing is to begin in its place.
                for other in controls:
                    other.preempt()


def _run_one(shipment: Shipment, segment: Segment, control: Control, say: Say, gpu: float) -> None:
    worker = get_worker()
    key = str(worker.get_current_task())

    def emit(report: Report) -> None:
        say(report.to_json())
        # The driver is gone, and the next one will run this segment again.
        if not is_wanted(worker, key):
            control.abandon()

    if _is_preempted(worker, control):
        say(is_preempted=True)
        return
    say()
    job, objective = shipment.open()
    if gpu:
        # What waits for its next segment would keep memory of devices that are others' by then.
        job = replace(job, warm=0.0)
    with lent_devices(job, gpu) as equipped:
        outcome = run_segment(
            equipped,
            objective,
            segment,
            emit=emit,
            control=control,
            worker=str(worker.name),
        )
    if outcome is not None:
        say(outcome=outcome.to_json())
    elif _is_preempted(worker, control):
        say(is_preempted=True)


def _is_preempted(worker: Worker, control: Control) -> bool:
    """Return whether a segment is to go on elsewhere: what its grace did not suffice for, too."""
    return control.requested == "preempt" or notices.of(worker.address) is not None


def is_wanted(worker: Worker, key: str) -> bool:
    """Return whether the scheduler still waits for a task that runs here."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state != "cancelled"


def lent_devices(job: Job, gpu: float) -> AbstractContextManager[Job]:
    """Let a trial in a process of its own see only the devices of this worker that it is lent."""
    return lent(job, gpu, _allocator)


@functools.cache
def _allocator() -> Allocator:
    """Return what lends the devices that this worker declares to have.

    It may see more: dask-cuda lets each worker of a machine see them all, its own ones first.
    """
    visible = visible_devices()
    declared = get_worker().state.total_resources.get("GPU", len(visible))
    return Allocator(visible[: math.ceil(declared)])


# By launch: another driver that has taken the study over may run the same segment here.
_controls = Controls()


def tell(topic: str, launch: int, how: How) -> bool:
    """Tell a launch to end if it runs in this process; return whether it does."""
    return _controls.tell((topic, launch), how)


def versions() -> dict[str, str]:
    """Return the versions that driver and workers must agree on."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "tuneflow": _version(),
    }


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C to the driver: a terminal sends it to all of its processes at once.

    So it is with SIGTERM, which may come to all processes of a machine. This is a preload of the
    workers that we start ourselves; Dask calls it in the main thread.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    leave_to_driver(worker)


def _version() -> str:
    try:
        return importlib.metadata.version("tuneflow")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
