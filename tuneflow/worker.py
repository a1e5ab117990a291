"""Run one segment of one trial: the only place where user code is called.

It can be run any number of times, anywhere, also twice at once: the first outcome that is stored
counts, and a run after a crash goes on from the newest checkpoint of the one before.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import CheckpointCorruptError, ObjectiveError, SpecError
from tuneflow.job import Job
from tuneflow.objective.control import Control, How
from tuneflow.objective.failures import is_terminated
from tuneflow.objective.output import Log
from tuneflow.objective.scratch import new_path
from tuneflow.objective.stream import Ended, Event, Objective, RawReport, Stream
from tuneflow.outcomes import read_outcome, write_outcome
from tuneflow.running import (
    RunningTrial,
    after,
    keep_warm,
    least,
    make_context,
    own_checkpoints,
    restore,
    take_warm,
    unreported,
)
from tuneflow.saving import Reports
from tuneflow.store import Store
from tuneflow.trial import (
    Failure,
    Outcome,
    Report,
    Segment,
    Status,
    log_path,
    outcome_path,
)

__all__ = ["Control", "How", "Job", "run_segment"]

Emit: TypeAlias = Callable[[Report], None]
"""Told each report of the segment once it counts. The objective waits meanwhile, unless it has
gone on while the report's checkpoint, or one before it, was being stored."""

_NOTICE = 2.0
"""Seconds that a notice may come after the SIGTERM that has ended an objective."""

_MOMENT = 0.1
"""Seconds that it may come after the end of a command that offers checkpoints."""

_LOOK = 0.01
"""Seconds between two looks whether it has come."""


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
        The outcome that is stored, or None when the segment was preempted or abandoned.

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
    # Whoever has ordered the segment has found the study there.
    return Store(url).expected()


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
    trial: RunningTrial | None = None
    # Whether the objective waits at a report, where it can be ended in an orderly way.
    at_report: bool = False
    # Whether it offers checkpoints, and whether it was told to save one soon.
    saves: bool = False
    is_hurried: bool = False

    def __post_init__(self) -> None:
        self.started, self.began = time.time(), time.monotonic()
        self.checkpoints = Checkpoints(self.store)
        self.timeout = self.seconds_left = least(self.job.timeout, self.objective.timeout)
        self.reports = Reports(
            self.segment,
            self.checkpoints,
            self.emit,
            wake=self._interrupt,
            background=self.job.background,
        )

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
        self.reports.drop()
        if self.trial is not None:
            self.trial.close(self._grace())

    def _execute(self, own: Sequence[str]) -> _Ending:
        if self.control.requested in ("preempt", "abandon"):
            return _Ending(None)
        try:
            self._begin(own)
        except (ObjectiveError, CheckpointCorruptError) as error:
            return _failed(error)
        self.reports.tell()
        if self.trial is None:
            return _Ending("paused") if self._is_reached() else self._requested()
        self.control.on_request(self._wake)
        return self._pull(self.trial.stream)

    def _begin(self, own: Sequence[str]) -> None:
        """Start the objective, or let the suspended trial go on, unless the end is known."""
        warm = None if own else take_warm(self.job, self.objective, self.segment, self.log)
        if warm is None:
            self._start(own)
        else:
            self.trial, replayed = warm
            self.reports.replay(replayed)
            self.saves = self.segment.checkpoint is not None
            self.at_report = True

    def _start(self, own: Sequence[str]) -> None:
        """Start the objective from a checkpoint or from nothing."""
        root = new_path(f"trial-{self.segment.trial}")
        try:
            origin = restore(self.checkpoints, self.segment, own, root / "restore", self.store)
            if own:
                # A damaged checkpoint would stand in the way of the one made anew.
                self.store.delete(after(origin.checkpoint, own))
            self.reports.replay(origin.reports)
            self.saves = origin.checkpoint is not None
            if not self._is_reached() and not self.control.requested:
                context = make_context(self.job, self.segment, root, origin.start, self.log)
                stream = self._opened().open(context)
                self.trial = RunningTrial(stream, root, origin)
        finally:
            if self.trial is None:
                shutil.rmtree(root, ignore_errors=True)

    def _opened(self) -> Objective:
        return self.objective.isolated() if self.job.isolation == "process" else self.objective

    def _wake(self) -> None:
        """Have a look at what was requested; called from any thread."""
        self.reports.nudge()
        self._interrupt()

    def _interrupt(self) -> None:
        # Another thread may put the trial aside meanwhile.
        trial = self.trial
        if trial is not None:
            trial.stream.interrupt()

    def _pull(self, stream: Stream) -> _Ending:
        """Take reports until something ends the segment."""
        try:
            while (ending := self._step(stream)) is None:
                pass
        except (SpecError, CheckpointCorruptError) as error:
            return _failed(error)
        return ending

    def _step(self, stream: Stream) -> _Ending | None:
        """Wait for one thing to happen; return how the segment ends if it does."""
        self.reports.tell()
        if self._is_reached():
            return _Ending("paused")
        if self._must_stop(stream):
            return self._requested()
        if self.seconds_left is not None and self.seconds_left <= 0:
            return self._timed_out()
        if self.reports.must_wait:
            self.reports.wait()
            return None
        event = self._next(stream)
        if isinstance(event, Ended):
            return self._ended(event, stream)
        if event is not None:
            self.saves = self.saves or event.offered
            self.reports.accept(event, self._scratch())
        return None

    def _ended(self, event: Ended, stream: Stream) -> _Ending:
        """Return how a segment ends whose objective has ended by itself.

        It may have been ended with its machine, by a signal to all processes that got to it first.
        """
        if event.failure is not None and is_terminated(event.failure):
            self._await_notice(_NOTICE)
        elif stream.saves_by_ending and self.saves:
            self._await_notice(_MOMENT)
        if self.control.requested == "preempt" and (event.failure or stream.saves_by_ending):
            return self._left(stream)
        return _Ending("failed" if event.failure else "completed", event.failure)

    def _await_notice(self, seconds: float) -> None:
        """Wait for what tells that the machine is about to go, if it does."""
        deadline = time.monotonic() + seconds
        while self.control.requested is None and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def _left(self, stream: Stream) -> _Ending:
        """Leave a segment with the last checkpoint that it named, wanted by then or not."""
        path = stream.unwanted()
        if path is not None and self.reports.made:
            self.reports.amend(path, self._scratch())
        return _Ending(None)

    def _is_reached(self) -> bool:
        until = self.segment.until
        return until is not None and self.reports.level >= until

    def _must_stop(self, stream: Stream) -> bool:
        """Return whether a request is to be obeyed now; a thread can only stop at a report."""
        how = self.control.requested
        if how == "preempt":
            return self._may_leave(stream)
        return how == "abandon" or (how == "stop" and (self.at_report or stream.interruptible))

    def _may_leave(self, stream: Stream) -> bool:
        """Ask for a checkpoint; return whether the trial is where it can go on from elsewhere.

        One that never had a checkpoint to offer has none to wait for.
        """
        if not self.is_hurried:
            self.is_hurried = True
            stream.save_soon()
        made = self.reports.made
        is_saved = not made or made[-1].checkpoint is not None or not self.saves
        return self.at_report and is_saved and not stream.saves_by_ending

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

    def _scratch(self) -> Path:
        assert self.trial is not None  # noqa: S101 - it has just reported
        return self.trial.root / "saving"

    def _tell_all(self) -> Failure | None:
        """Have all that was reported stored and told; return why that cannot be."""
        try:
            self.reports.tell_all(lambda: self.control.requested == "abandon")
        except (SpecError, CheckpointCorruptError) as error:
            self.reports.drop()
            return _failed(error).failure
        return None

    def _timed_out(self) -> _Ending:
        """End an objective that takes too long; a thread cannot be killed."""
        message = f"the segment took more than {self.timeout:g} seconds"
        grace = self.job.grace if self.at_report else 0
        if self.trial is not None and not self.trial.stream.close(grace):
            message += "; its thread runs on, which 'isolation: process' would prevent"
        return _Ending("failed", Failure("timeout", message, self.log.tail()))

    def _grace(self) -> float:
        """Return how long to wait for an objective to end."""
        can_end = self.at_report or (self.trial is not None and self.trial.stream.interruptible)
        return self.job.grace if can_end else 0

    def _settle(self, ending: _Ending) -> Outcome | None:
        """Write log and outcome; keep the trial for its next segment, or end it."""
        if ending.status is None and self.control.requested == "abandon":
            return None
        failure = ending.failure or self._missing_metric(ending)
        keeps = failure is None and ending.status == "paused" and self._is_resumable()
        if self.trial is not None and not keeps:
            # Nothing more is wanted of it, so it need not go on while the rest is stored.
            self.trial.stream.close(self._grace())
        failure = self._tell_all() or failure
        status = "failed" if failure else ending.status
        if status is None or self.reports.pending:
            return None
        outcome = self._outcome(status, failure)
        self._write_log()
        stored = write_outcome(self.store, outcome)
        if keeps and not failure and stored is outcome and self.trial is not None:
            keep_warm(self.job, self.objective, self.segment, self.trial, self.reports.told)
            self.trial = None
        return stored

    def _outcome(self, status: Status, failure: Failure | None) -> Outcome:
        return Outcome(
            *self.segment.key,
            status=status,
            reports=tuple(self.reports.told),
            failure=failure,
            started=self.started,
            # Budgets go by the difference, so the clock may be set meanwhile.
            ended=self.started + time.monotonic() - self.began,
            worker=self.worker,
        )

    def _write_log(self) -> None:
        if output := self.log.getvalue():
            self.store.put(log_path(*self.segment.key), output)

    def _missing_metric(self, ending: _Ending) -> Failure | None:
        """Return a failure when the segment ended without saying what it was run for."""
        if ending.status not in ("completed", "paused"):
            return None
        stream = self.trial.stream if self.trial is not None else None
        why = unreported(self.job.metric, self.segment, self.reports.made, stream)
        if why is None:
            return None
        message = f"{self.objective.name} reported no {self.job.metric!r}; {why}"
        return Failure("metric", message, self.log.tail())

    def _is_resumable(self) -> bool:
        """Return whether the trial can be, and may be, resumed from where it waits."""
        return (
            self.job.warm > 0
            and self.trial is not None
            and self.trial.stream.suspendable
            and self.segment.until != self.segment.max_resource
        )


def _failed(error: Exception) -> _Ending:
    return _Ending("failed", Failure(type(error).__name__, str(error)))
