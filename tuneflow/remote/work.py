"""What a Dask worker does for an order."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distributed import Reschedule, get_worker

from tuneflow.errors import ObjectiveError, StudyNotFoundError
from tuneflow.executors.dask_preemption import attach, forget_deaths
from tuneflow.executors.dask_worker import is_wanted, lent_devices
from tuneflow.executors.placement import Place, Request
from tuneflow.jsonio import dumps
from tuneflow.objective import Objective
from tuneflow.objective.control import Control, How
from tuneflow.opened import OpenStudy
from tuneflow.remote.code import Code, MissingModuleError
from tuneflow.remote.orders import Answer, SegmentOrder, topic_of
from tuneflow.remote.room import Room
from tuneflow.remote.seen import unseen_by
from tuneflow.remote.segments import PreemptedError, carry_out, controls, job_for
from tuneflow.study import Study
from tuneflow.trial import Outcome, Report, Segment
from tuneflow.worker import Emit, run_segment

if TYPE_CHECKING:
    from distributed import Worker

_PAUSE = 0.5
"""Seconds between two reports that those who watch are told of."""

_room = Room()


def run_segment_order(data: dict[str, Any]) -> dict[str, Any]:
    """Run a segment of a stored study, and store its outcome, unless it has one already.

    Args:
        data: the JSON of a `SegmentOrder`.

    Returns:
        The JSON of an `Answer`.

    Raises:
        Reschedule: its worker is about to go, so Dask is to run it elsewhere.
        ObjectiveError: the objective cannot be loaded here. There is no outcome, and the order
            can be given again; so it is with all other errors.
        StudyNotFoundError: this worker does not see the study.
        CorruptError: the study's journal has no such segment, or has lost its outcome.
        StorageError: the storage failed.
    """
    order = SegmentOrder.from_json(data)
    try:
        study, outcome = run_order(order)
    except PreemptedError as error:
        raise Reschedule from error
    if outcome is None:
        return Answer(order.trial, order.segment, "abandoned").to_json()
    return Answer.of(outcome, study.metric).to_json()


def run_order(order: SegmentOrder) -> tuple[Study, Outcome | None]:
    """Run a segment in the Dask task that calls this; see `run_segment_order`.

    Returns the study, and the segment's outcome unless it was told to end without any. Raises
    PreemptedError when it is to run elsewhere.
    """
    worker = get_worker()
    attach(worker)
    try:
        return carry_out(order, functools.partial(_run, order), worker.address)
    except StudyNotFoundError as error:
        raise unseen(order.study) from error


def run_order_of_others(order: SegmentOrder) -> tuple[Study, Outcome | None]:
    """Run a segment like `run_order`, in a task of somebody who takes exceptions for failures.

    When the segment is to run elsewhere it does not return: Dask begins the task elsewhere as this
    worker goes, and whoever has given it need not know.
    """
    try:
        return run_order(order)
    except PreemptedError:
        while True:
            time.sleep(_PAUSE)


def tell(key: str, how: How) -> bool:
    """Tell an order to end if it is carried out in this process; return whether it is."""
    return controls.tell(key, how)


def tell_all(keys: Sequence[str]) -> bool:
    """Tell orders to end without an outcome; return whether this process carries out any."""
    told = [controls.tell(key, "abandon") for key in keys]
    return any(told)


def load_here(code: Code) -> Objective:
    """Return an objective. Raises ObjectiveError, naming this worker and what it lacks."""
    try:
        return code.load()
    except ObjectiveError as error:
        where, missing = get_worker().address, _missing(error)
        if missing is not None:
            message = f"the worker {where} has no module {missing!r}; install it there"
            raise MissingModuleError(message + _instead(code, missing)) from None
        raise ObjectiveError(f"the worker {where} cannot load the objective: {error}") from None


def _instead(code: Code, missing: str) -> str:
    """Return what else helps when it is the user's own module that is missing."""
    place = str(code.reference.get("function", ""))
    is_own = code.source is None and code.pickled is None and place.startswith(missing)
    return ", or give the objective as file.py:function, which travels" if is_own else ""


def unseen(url: str) -> StudyNotFoundError:
    """Return the error of this worker, which finds no study at a URL."""
    return unseen_by(get_worker().address, url)


def _missing(error: BaseException) -> str | None:
    """Return the module that could not be found, if that is what lies behind an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError):
            return cause.name
        cause = cause.__cause__
    return None


def _run(
    order: SegmentOrder, opened: OpenStudy, segment: Segment, control: Control
) -> Outcome | None:
    job = job_for(order, opened)
    request = Request.parse(job.resources).changed(segment.resources)
    objective, worker = load_here(order.code), get_worker()
    with (
        _room.taken(_place(worker), request, control),
        lent_devices(job, request.gpu) as equipped,
    ):
        return run_segment(
            equipped,
            objective,
            segment,
            emit=_teller(worker, order, control),
            control=control,
            worker=str(worker.name),
        )


def _place(worker: Worker) -> Place:
    declared = worker.state.total_resources
    memory = declared.get("MEMORY") or worker.memory_manager.memory_limit or 0
    return Place(worker.address, worker.state.nthreads, declared.get("GPU", 0), int(memory))


def _teller(worker: Worker, order: SegmentOrder, control: Control) -> Emit:
    """Return what is told each report: it tells those who watch, but not too often."""
    topic, told, task = topic_of(order.key), -math.inf, str(worker.get_current_task())
    begun, gets_on = time.time(), False

    def tell_of(report: Report) -> None:
        nonlocal told, gets_on
        if not gets_on and report.checkpoint is not None and report.time >= begun:
            # The next run will begin further on, so this is not what workers die of.
            gets_on = True
            forget_deaths(worker, task)
        # Whoever cancels an order tells it to end, but it may not have begun by then.
        if not is_wanted(worker, task):
            control.abandon()
        if time.monotonic() >= told + _PAUSE:
            told = time.monotonic()
            worker.log_event(topic, dumps({"key": order.key, "report": report.to_json()}))

    return tell_of
