"""Run one segment of one trial: the only place where user code is called.

It can be run any number of times, anywhere, also twice at once: the first outcome that is stored
counts, and a run after a crash goes on from the newest checkpoint of the one before.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import CheckpointCorruptError, ObjectiveError, SpecError, did_you_mean
from tuneflow.job import Job
from tuneflow.objective.control import Control, How
from tuneflow.objective.output import Log
from tuneflow.objective.scratch import new_path
from tuneflow.objective.stream import Ended, Event, Objective, RawReport, Stream
from tuneflow.outcomes import read_outcome, write_outcome
from tuneflow.running import (
    RunningTrial,
    keep_warm,
    make_context,
    own_checkpoints,
    restore,
    take_warm,
)
from tuneflow.store import Store
from tuneflow.trial import (
    Failure,
    Outcome,
    Report,
    Segment,
    Status,
    checkpoint_ref,
    log_path,
    outcome_path,
)

__all__ = ["Control", "How", "Job", "run_segment"]

Emit: TypeAlias = Callable[[Report], None]
"""Told each report of the segment once it counts; the objective waits meanwhile."""


def run_segment(
    job: Job,
    objective: Objective,
    segment: Segment,
    *,
    emit: Emit,
    control: Control,
    worker: str = "",
    store: Store | None = None,
) -> Outcome | None:
    """Run a segment to its end and store its outcome, unless it has one already.

    Args:
        job: what is the same for all segments of the study.
        objective: the user's code.
        segment: what to run.
        emit: told each report, once its checkpoint is stored.
        control: tells it to stop.
        worker: a name of this place, for the outcome.
        store: the study's store. Default: that of ``job.storage``.

    Returns:
        The outcome that is stored, or None when the segment was abandoned.

    Raises:
        StorageError: the storage failed; there is no outcome, and the segment can be run again.
    """
    run = _Run(
        job=job,
        objective=objective,
        segment=segment,
        emit=emit,
        control=control,
        worker=worker,
        store=store or _store(job.storage),
    )
    try:
        return run.run()
    finally:
        control.on_request(None)
        run.discard()


@functools.lru_cache(maxsize=16)
def _store(url: str) -> Store:
    return Store(url)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a segment ends; the status is None when it leaves no outcome."""

    status: Status | None
    failure: Failure | None = None


@dataclass
class _Run:
    """One run of one segment."""

    job: Job
    objective: Objective
    segment: Segment
    emit: Emit
    control: Control
    worker: str
    store: Store
    log: Log = field(default_factory=Log)
    reports: list[Report] = field(default_factory=list)
    trial: RunningTrial | None = None
    # Whether the objective waits at a report, where it can be ended in an orderly way.
    at_report: bool = False

    def __post_init__(self) -> None:
        self.started = time.time()
        self.checkpoints = Checkpoints(self.store)
        self.timeout = _least(self.job.timeout, self.objective.timeout)
        self.seconds_left = self.timeout

    def run(self) -> Outcome | None:
        """Run it, see `run_segment`."""
        keys = self.store.list(f"trials/{self.segment.trial:06d}")
        path = outcome_path(*self.segment.key)
        if path in keys:
            return read_outcome(self.store.get(path), path)
        ending = self._execute(own_checkpoints(self.segment, keys))
        return self._settle(ending)

    def discard(self) -> None:
        """End what still runs: the segment was abandoned, or the machinery around it failed."""
        if self.trial is not None:
            self.trial.close(self._grace())

    def _execute(self, own: Sequence[str]) -> _Ending:
        if self.control.requested == "abandon":
            return _Ending(None)
        try:
            self._begin(own)
        except (ObjectiveError, CheckpointCorruptError) as error:
            return _failed(error)
        for report in self.reports:
            self.emit(report)
        if self.trial is None:
            return _Ending("paused") if self._is_reached() else self._requested()
        self.control.on_request(self.trial.stream.interrupt)
        return self._pull(self.trial.stream)

    def _begin(self, own: Sequence[str]) -> None:
        """Start the objective, or let the suspended trial go on, unless the end is known."""
        warm = None if own else take_warm(self.job, self.objective, self.segment, self.log)
        if warm is None:
            self._start(own)
        else:
            self.trial, replayed = warm
            self.reports.extend(replayed)
            self.at_report = True

    def _start(self, own: Sequence[str]) -> None:
        """Start the objective from a checkpoint or from nothing."""
        root = new_path(f"trial-{self.segment.trial}")
        try:
            origin = restore(self.checkpoints, self.segment, own, root / "restore")
            if own:
                # A damaged checkpoint would stand in the way of the one made anew.
                self.store.delete(_after(origin.checkpoint, own))
            self.reports.extend(origin.reports)
            if not self._is_reached() and not self.control.requested:
                context = make_context(self.job, self.segment, root, origin.start, self.log)
                stream = self._opened().open(context)
                self.trial = RunningTrial(stream, root, origin)
        finally:
            if self.trial is None:
                shutil.rmtree(root, ignore_errors=True)

    def _opened(self) -> Objective:
        isolated = self.job.isolation == "process"
        return self.objective.isolated() if isolated else self.objective

    def _pull(self, stream: Stream) -> _Ending:
        """Take reports until something ends the segment."""
        while True:
            if self._is_reached():
                return _Ending("paused")
            if self._must_stop(stream):
                return self._requested()
            if self.seconds_left is not None and self.seconds_left <= 0:
                return self._timed_out()
            event = self._next(stream)
            if isinstance(event, Ended):
                return _Ending("failed" if event.failure else "completed", event.failure)
            if event is not None:
                try:
                    self._accept(event)
                except (SpecError, CheckpointCorruptError) as error:
                    return _failed(error)

    def _is_reached(self) -> bool:
        until = self.segment.until
        level = self.reports[-1].resource if self.reports else self.segment.start
        return until is not None and level >= until

    def _must_stop(self, stream: Stream) -> bool:
        """Return whether a request is to be obeyed now; a thread can only stop at a report."""
        how = self.control.requested
        return how == "abandon" or (how == "stop" and (self.at_report or stream.interruptible))

    def _requested(self) -> _Ending:
        return _Ending("stopped" if self.control.requested == "stop" else None)

    def _next(self, stream: Stream) -> Event:
        """Pull once; what the driver and the storage take is not the objective's time."""
        began = time.monotonic()
        event = stream.next(self.seconds_left)
        self.at_report = isinstance(event, RawReport)
        if self.seconds_left is not None:
            self.seconds_left -= time.monotonic() - began
        return event

    def _accept(self, raw: RawReport) -> None:
        """Store a report's checkpoint, then let the driver know of it."""
        report = Report(raw.resource, raw.metrics, None, time.time())
        if raw.checkpoint is not None:
            ref = checkpoint_ref(*self.segment.key, raw.resource)
            report = replace(report, checkpoint=ref)
            self._save(ref, raw.checkpoint, [*self.reports, report])
            if raw.temporary:
                shutil.rmtree(raw.checkpoint, ignore_errors=True)
        self.reports.append(report)
        self.emit(report)

    def _save(self, ref: str, path: Path, reports: Sequence[Report]) -> None:
        """Store a checkpoint, with all that the segment reported, from which to go on."""
        data = [report.to_json() for report in reports]
        self.checkpoints.save(ref, path, resource=reports[-1].resource, reports=data)

    def _timed_out(self) -> _Ending:
        """End an objective that takes too long; a thread cannot be killed."""
        message = f"the segment took more than {self.timeout:g} seconds"
        grace = self.job.grace if self.at_report else 0
        if self.trial is not None and not self.trial.close(grace):
            message += "; its thread runs on, which 'isolation: process' would prevent"
        return _Ending("failed", Failure("timeout", message, self.log.tail()))

    def _grace(self) -> float:
        """Return how long to wait for an objective to end."""
        can_end = self.at_report or (self.trial is not None and self.trial.stream.interruptible)
        return self.job.grace if can_end else 0

    def _settle(self, ending: _Ending) -> Outcome | None:
        """Write log and outcome; keep the trial for its next segment, or end it."""
        failure = ending.failure or self._missing_metric(ending)
        status = "failed" if failure else ending.status
        if status is None:
            return None
        keeps = status == "paused" and self._is_resumable()
        if self.trial is not None and not keeps:
            self.trial.close(self.job.grace)
        outcome = self._outcome(status, failure)
        self._write_log()
        stored = write_outcome(self.store, outcome)
        if keeps and stored is outcome and self.trial is not None:
            keep_warm(self.job, self.objective, self.segment, self.trial, self.reports)
            self.trial = None
        return stored

    def _outcome(self, status: Status, failure: Failure | None) -> Outcome:
        return Outcome(
            *self.segment.key,
            status=status,
            reports=tuple(self.reports),
            failure=failure,
            started=self.started,
            ended=time.time(),
            worker=self.worker,
        )

    def _write_log(self) -> None:
        output = self.log.getvalue()
        if output:
            self.store.put(log_path(*self.segment.key), output)

    def _missing_metric(self, ending: _Ending) -> Failure | None:
        """Return a failure when the segment ended without saying what it was run for."""
        metric = self.job.metric
        names = list(dict.fromkeys(name for report in self.reports for name in report.metrics))
        if ending.status not in ("completed", "paused") or metric in names:
            return None
        if not names and self.segment.start > 0:
            # It went on from where it had nothing more to do.
            return None
        why = _near(metric, names) if names else self._hint()
        message = f"{self.objective.name} reported no {metric!r}; {why}"
        return Failure("metric", message, self.log.tail())

    def _hint(self) -> str:
        return self.trial.stream.hint(self.job.metric) if self.trial is not None else ""

    def _is_resumable(self) -> bool:
        """Return whether the trial can be, and may be, resumed from where it waits."""
        return (
            self.job.warm > 0
            and self.trial is not None
            and self.trial.stream.suspendable
            and self.segment.until != self.segment.max_resource
        )


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _failed(error: Exception) -> _Ending:
    return _Ending("failed", Failure(type(error).__name__, str(error)))


def _after(ref: str | None, refs: Sequence[str]) -> list[str]:
    """Return the references that follow ``ref``; all of them if it is not one of them."""
    return list(refs[refs.index(ref) + 1 :]) if ref in refs else list(refs)


def _near(metric: str, names: Sequence[str]) -> str:
    """Say what was reported instead."""
    near = did_you_mean(metric, names)
    reported = f"it reported {', '.join(map(repr, names))}"
    return f"{reported}; {near}" if near.startswith("did") else reported
