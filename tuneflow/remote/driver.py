"""Drive a stored study from inside a Dask task, which any worker can run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Reschedule, Worker, get_worker, secede

from tuneflow.driving import drive
from tuneflow.errors import StudyConflictError, StudyNotFoundError
from tuneflow.executors.base import Ended, Message
from tuneflow.executors.dask import DaskExecutor
from tuneflow.executors.dask_cluster import address_of
from tuneflow.executors.dask_preemption import attach, forget_deaths
from tuneflow.interrupt import Interrupts, Terminated
from tuneflow.last_place import LastPlace
from tuneflow.objective.control import Control
from tuneflow.opened import OpenStudy
from tuneflow.remote.orders import DriverOrder, beginning_of
from tuneflow.remote.segments import controls
from tuneflow.remote.work import load_here, unseen
from tuneflow.store import Store
from tuneflow.trial import Segment


class DriverExecutor(DaskExecutor):
    """Says, once each, that a driver has begun, and that it gets on.

    Attributes:
        begun: called before the first segment is submitted: what was decided is committed.
        gets_on: called when a first segment has ended.
    """

    begun: Callable[[], None] | None = None
    gets_on: Callable[[], None] | None = None

    def submit(self, segment: Segment) -> None:
        """Have a segment run."""
        if self.begun is not None:
            self.begun()
            self.begun = None
        super().submit(segment)

    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said."""
        messages = super().wait(timeout)
        if self.gets_on is not None and any(isinstance(message, Ended) for message in messages):
            self.gets_on()
            self.gets_on = None
        return messages


def drive_order(data: dict[str, Any]) -> dict[str, str]:
    """Drive a study to its end, with its trials on the workers of the same cluster.

    It takes no room from them. When its worker dies, Dask runs it again on another one, which
    takes the study over; what still lives of the first one is fenced by the journal.

    Args:
        data: the JSON of a `DriverOrder`.

    Returns:
        ``state`` and ``reason``: that of the study, "finished" or "halted"; or "interrupted",
        when it was told to end, and "fenced", when another driver has taken over.

    Raises:
        Reschedule: its worker is about to go, so Dask is to run it elsewhere.
        ObjectiveError: the objective cannot be loaded here.
        StudyNotFoundError: this worker does not see the study.
        SpecError, MissingDependencyError: the searcher cannot work here.
        ClusterError: no worker can ever run such a trial, or the scheduler is gone.
        StorageError: the storage failed. The study is resumable after all of these.
    """
    order, worker = DriverOrder.from_json(data), get_worker()
    attach(worker)
    with controls.listening(order.key, worker.address) as control:
        secede()
        try:
            return _drive(order, worker, control)
        except Terminated as error:
            raise Reschedule from error
        except KeyboardInterrupt:
            return {"state": "interrupted", "reason": "its driver was told to end"}
        except StudyConflictError as error:
            return {"state": "fenced", "reason": str(error)}


def _drive(order: DriverOrder, worker: Worker, control: Control) -> dict[str, str]:
    opened = _open(order.study)
    objective = load_here(order.code)
    executor = _executor(order, worker)
    with _interrupted_by(control) as interrupts:
        drive(
            opened,
            objective,
            executor,
            place=_place(opened, worker),
            retry_failed=order.retry_failed and opened.history.epoch == order.epoch,
            interrupts=interrupts,
        )
    history = opened.history
    return {"state": history.state, "reason": history.finished or history.halted or ""}


def _executor(order: DriverOrder, worker: Worker) -> DaskExecutor:
    executor = DriverExecutor(
        worker, isolation=order.isolation, timeout=order.timeout, **order.settings
    )
    executor.begun = lambda: worker.log_event(beginning_of(order.key), "begun")
    executor.gets_on = functools.partial(forget_deaths, worker, order.key)
    return executor


def _open(url: str) -> OpenStudy:
    try:
        return OpenStudy.open(Store(url).expected().url)
    except StudyNotFoundError as error:
        raise unseen(url) from error


@contextmanager
def _interrupted_by(control: Control) -> Iterator[Interrupts]:
    """Let whoever may tell an order to end interrupt its driver meanwhile."""
    interrupts = Interrupts()

    def interrupt() -> None:
        interrupts.request(is_terminated=control.requested == "preempt")

    control.on_request(interrupt)
    if control.requested is not None:
        interrupt()
    try:
        yield interrupts
    finally:
        control.on_request(None)


def _place(opened: OpenStudy, worker: Worker) -> LastPlace:
    """Return what whoever gave the order has left; else that it runs on this cluster.

    A worker's own folder means nothing to one who resumes the study elsewhere.
    """
    given = LastPlace.recall(opened.store)
    return given or LastPlace(str(Path.cwd()), {"type": "dask", "address": address_of(worker)})
