"""What a Dask worker does for an order."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from tuneflow.driving import job_of
from tuneflow.errors import CorruptError, ObjectiveError, StudyNotFoundError
from tuneflow.executors.controls import Controls
from tuneflow.executors.dask_worker import is_wanted, lent_devices
from tuneflow.executors.placement import Place, Request
from tuneflow.jsonio import dumps
from tuneflow.objective import Objective
from tuneflow.objective.control import Control, How
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import read_outcome
from tuneflow.remote.code import Code
from tuneflow.remote.orders import Answer, SegmentOrder, topic_of
from tuneflow.remote.room import Room
from tuneflow.remote.studies import Studies
from tuneflow.store import NotFound
from tuneflow.trial import Outcome, Report, Segment, outcome_path
from tuneflow.worker import Emit, run_segment

if TYPE_CHECKING:
    from distributed import Worker

_PAUSE = 0.5
"""Seconds between two reports that those who watch are told of."""

controls = Controls()
"""The orders that run in this process, by key."""

_studies = Studies()
_room = Room()


def run_segment_order(data: dict[str, Any]) -> dict[str, Any]:
    """Run a segment of a stored study, and store its outcome, unless it has one already.

    Args:
        data: the JSON of a `SegmentOrder`.

    Returns:
        The JSON of an `Answer`.

    Raises:
        ObjectiveError: the objective cannot be loaded here. There is no outcome, and the order
            can be given again; so it is with all other errors.
        StudyNotFoundError: this worker does not see the study.
        CorruptError: the study's journal has no such segment, or has lost its outcome.
        StorageError: the storage failed.
    """
    order = SegmentOrder.from_json(data)
    with controls.listening(order.key) as control:
        opened, segment = _found(order)
        if segment is not None:
            outcome = _run(order, opened, segment, control)
        else:
            outcome = _stored(opened, order)
    if outcome is None:
        return Answer(order.trial, order.segment, "abandoned").to_json()
    return Answer.of(outcome, opened.study.metric).to_json()


def tell(key: str, how: How) -> bool:
    """Tell an order to end if it is carried out in this process; return whether it is."""
    return controls.tell(key, how)


def load_here(code: Code) -> Objective:
    """Return an objective. Raises ObjectiveError, naming this worker and what it lacks."""
    try:
        return code.load()
    except ObjectiveError as error:
        where, missing = get_worker().address, _missing(error)
        if missing is not None:
            message = f"the worker {where} has no module {missing!r}; install it there"
            raise ObjectiveError(message + _instead(code, missing)) from None
        raise ObjectiveError(f"the worker {where} cannot load the objective: {error}") from None


def _instead(code: Code, missing: str) -> str:
    """Return what else helps when it is the user's own module that is missing."""
    place = str(code.reference.get("function", ""))
    is_own = code.source is None and code.pickled is None and place.startswith(missing)
    return ", or give the objective as file.py:function, which travels" if is_own else ""


def unseen(url: str) -> StudyNotFoundError:
    """Return the error of a worker that finds no study at a URL."""
    return StudyNotFoundError(
        f"the worker {get_worker().address} finds no study at {url}; give the study a storage "
        "that all workers reach, such as s3://… or a shared folder"
    )


def _missing(error: BaseException) -> str | None:
    """Return the module that could not be found, if that is what lies behind an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError):
            return cause.name
        cause = cause.__cause__
    return None


def _found(order: SegmentOrder) -> tuple[OpenStudy, Segment | None]:
    """Return the study, and the segment unless its trial has gone on to a later one."""
    try:
        return _studies.find(order.study, order.trial, order.segment)
    except StudyNotFoundError as error:
        raise unseen(order.study) from error


def _stored(opened: OpenStudy, order: SegmentOrder) -> Outcome:
    """Return the outcome that a segment in the past must have."""
    path = outcome_path(order.trial, order.segment)
    try:
        return read_outcome(opened.store.get(path), f"{opened.url}/{path}")
    except NotFound:
        raise CorruptError(
            f"trial {order.trial} of {opened.url} has gone on, but the outcome of its segment "
            f"{order.segment} is missing"
        ) from None


def _run(
    order: SegmentOrder, opened: OpenStudy, segment: Segment, control: Control
) -> Outcome | None:
    job = replace(job_of(opened), isolation=order.isolation, timeout=order.timeout, warm=0.0)
    request, objective, worker = Request.parse(job.resources), load_here(order.code), get_worker()
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
    topic, told = topic_of(order.key), -math.inf

    def tell_of(report: Report) -> None:
        nonlocal told
        # Whoever cancels an order tells it to end, but it may not have begun by then.
        if not is_wanted(worker, order.key):
            control.abandon()
        if time.monotonic() >= told + _PAUSE:
            told = time.monotonic()
            worker.log_event(topic, dumps({"key": order.key, "report": report.to_json()}))

    return tell_of
