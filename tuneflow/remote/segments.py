"""Run a segment of a stored study in this process, on a Dask worker or anywhere else."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from tuneflow.driving import job_of
from tuneflow.errors import CorruptError
from tuneflow.executors.controls import Controls
from tuneflow.executors.devices import Allocator, lent, visible_devices
from tuneflow.executors.placement import Request
from tuneflow.job import Job
from tuneflow.objective.control import Control
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import read_outcome
from tuneflow.preemption import notices
from tuneflow.remote.orders import SegmentOrder
from tuneflow.remote.studies import Studies
from tuneflow.store import NotFound
from tuneflow.study import Study
from tuneflow.trial import Outcome, Segment, outcome_path
from tuneflow.worker import Emit, run_segment

Run: TypeAlias = Callable[[OpenStudy, Segment, Control], Outcome | None]
"""Runs a segment; without an outcome when the control says so."""

controls = Controls()
"""The orders that run in this process, by key."""

_studies = Studies()


class PreemptedError(Exception):
    """A segment has saved and ended, for its machine is about to go; it is to run elsewhere."""


def carry_out(
    order: SegmentOrder, run: Run, place: str | None = None
) -> tuple[Study, Outcome | None]:
    """Have the segment of an order run, and be told to end by `controls` meanwhile.

    Args:
        order: which segment.
        run: not called when the trial has gone on to a later segment.
        place: the address of the Dask worker that this is, if it is one.

    Returns:
        The study, and the segment's outcome; None when it was told to end without any.

    Raises:
        PreemptedError: it is to run elsewhere.
        StudyNotFoundError: there is no study.
        CorruptError: the study's journal has no such segment, or has lost its outcome.
        StorageError: the storage failed.
    """
    with controls.listening(order.key, place) as control:
        opened, segment = _studies.find(order.study, order.trial, order.segment)
        if segment is None:
            return opened.study, _stored(opened, order)
        outcome = run(opened, segment, control)
        # What the grace did not suffice for is to run elsewhere too.
        if outcome is None and (control.requested == "preempt" or notices.of(place)):
            raise PreemptedError(f"segment {order.segment} of trial {order.trial} was preempted")
        return opened.study, outcome


def run_here(order: SegmentOrder, emit: Emit) -> tuple[Study, Outcome | None]:
    """Run the segment of an order in this process, which is no Dask worker.

    Args:
        order: which segment, and how to run it.
        emit: told each report.

    Returns:
        See `carry_out`.

    Raises:
        ObjectiveError: the objective cannot be loaded here. There is no outcome; so it is with all
            other errors, which are those of `carry_out`.
    """

    def run(opened: OpenStudy, segment: Segment, control: Control) -> Outcome | None:
        request = Request.parse(opened.study.resources).changed(segment.resources)
        objective = order.code.load()
        with lent(job_for(order, opened), request.gpu, _allocator) as job:
            return run_segment(
                job, objective, segment, emit=emit, control=control, worker=socket.gethostname()
            )

    return carry_out(order, run)


def job_for(order: SegmentOrder, opened: OpenStudy) -> Job:
    """Return what is the same for all segments that are ordered in this way.

    None is kept warm: nobody knows where the next segment of its trial will be ordered.
    """
    return replace(job_of(opened), isolation=order.isolation, timeout=order.timeout, warm=0.0)


@functools.cache
def _allocator() -> Allocator:
    return Allocator(visible_devices())


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
