"""What an objective may call while it runs: `report`, `checkpoint`, `preempted`, `current_trial`.

All of them also work where no study runs, so that a training script can be started by hand.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from tuneflow.errors import ObjectiveError
from tuneflow.objective.environment import occupied
from tuneflow.objective.metrics import next_resource, to_metrics
from tuneflow.objective.period import Period
from tuneflow.objective.stream import Context, RawReport
from tuneflow.trial import Params, Resource

logger = logging.getLogger("tuneflow")

Saves: TypeAlias = "str | PathLike[str] | Callable[[Path], object]"
"""A checkpoint: the path of a file or directory, or a function that writes into a directory."""


class TrialStopped(BaseException):
    """Raised by `report` when the trial is to end here.

    It is no `Exception`, so that ``except Exception`` in an objective does not swallow it.
    """


@dataclass(frozen=True, slots=True)
class TrialInfo:
    """What a running trial may know of itself.

    Attributes:
        number: the trial's number in its study.
        segment: the number of this run of the trial; a resumed trial has several.
        params: the configuration.
        start: the resource level it goes on from; 0 without a checkpoint.
        until: the level it will be paused at, or None.
        max_resource: the most it will ever be given, or None; tie learning rate schedules to it.
        directory: a directory of its own, deleted when the segment is over.
        attempt: how often this was tried before.
        resources: what it occupies: ``cpu``, ``gpu`` and perhaps ``memory``, as the study says or
            the scheduler. It can differ between the segments of a trial.
    """

    number: int
    segment: int
    params: Params
    start: Resource
    until: Resource | None
    max_resource: Resource | None
    directory: Path
    attempt: int
    resources: Mapping[str, Any]


class Session:
    """The side of a stream that the objective sees.

    Args:
        context: what the objective runs in.
        exchange: hands a report over and returns once the next one is wanted; it raises
            `TrialStopped` when none is.
        clock: tells seconds, for the period of the checkpoints.
    """

    def __init__(
        self,
        context: Context,
        exchange: Callable[[RawReport], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.context = context
        self.restore = context.restore
        self.last = context.start
        self.reported = False
        self.is_preempted = False
        self.period = Period(context, clock)
        self._exchange = exchange
        self._lock = threading.Lock()

    def resume(self, context: Context) -> None:
        """Go on with the trial's next segment."""
        self.context = context
        self.is_preempted = False
        self.period.begin(context)

    def save_soon(self) -> None:
        """Save a checkpoint at the next report; safe from any thread and in a signal handler."""
        self.is_preempted = True
        self.period.hurry()

    def report(self, values: Any, resource: Any, checkpoint: Saves | None, said: str) -> None:
        """Hand over one report; see the function `report`."""
        metrics = to_metrics(values, self.context.metric, said)
        with self._lock:
            level = next_resource(resource, self.last)
            path, temporary = self._saved(checkpoint, level)
            self.last = level
            self.reported = True
            self._exchange(RawReport(level, metrics, path, temporary, checkpoint is not None))

    def _saved(self, checkpoint: Saves | None, level: Resource) -> tuple[Path | None, bool]:
        """Return the path of the checkpoint if one is wanted, and whether it is ours to delete."""
        if not self.period.is_over(level) or checkpoint is None:
            return None, False
        path = self._written(checkpoint, level) if callable(checkpoint) else _existing(checkpoint)
        self.period.saved()
        return path, callable(checkpoint)

    def _written(self, checkpoint: Callable[[Path], object], level: Resource) -> Path:
        """Let a function write a checkpoint into a new folder, and return that."""
        self.context.checkpoints.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{level}-", dir=self.context.checkpoints))
        try:
            checkpoint(directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        return directory

    @property
    def info(self) -> TrialInfo:
        """What the trial may know of itself."""
        segment = self.context.segment
        self.context.directory.mkdir(parents=True, exist_ok=True)
        return TrialInfo(
            number=segment.trial,
            segment=segment.segment,
            params=segment.params,
            start=self.context.start,
            until=segment.until,
            max_resource=segment.max_resource,
            directory=self.context.directory,
            attempt=segment.attempt,
            resources=occupied(segment),
        )


def _existing(checkpoint: str | PathLike[str]) -> Path:
    path = Path(checkpoint).absolute()
    if not path.exists():
        raise FileNotFoundError(f"the reported checkpoint {str(path)!r} does not exist")
    return path


class _Thread(threading.local):
    session: Session | None = None


_thread = _Thread()
_live: set[Session] = set()


def bind(session: Session | None) -> None:
    """Make ``session`` the one that the calling thread reports to."""
    _thread.session = session


def add_live(session: Session) -> None:
    """Say that ``session`` is running; threads of user code report to the only such one."""
    _live.add(session)


def remove_live(session: Session) -> None:
    """Say that ``session`` has ended, or is put aside."""
    _live.discard(session)


def current() -> Session | None:
    """Return the session of the calling thread, or the only one that is live."""
    if _thread.session is not None:
        return _thread.session
    live = tuple(_live)
    return live[0] if len(live) == 1 else None


def report(
    metrics: Mapping[str, Any] | None = None,
    /,
    *,
    resource: Resource | None = None,
    checkpoint: Saves | None = None,
    **values: Any,
) -> None:
    """Report the metrics of the running trial, and wait until it may go on.

    Where no study runs, the metrics are logged at level INFO instead.

    Args:
        metrics: metric names to numbers; scalars of numpy and torch are fine, NaN is allowed.
        resource: the level reached, such as the epoch; above the last one. Default: one more.
        checkpoint: a function that gets an empty directory to write into, called only when a
            checkpoint is wanted; or a file or directory, which may be written to again when this
            returns.
        values: metrics by keyword.

    Raises:
        TypeError: a metric is not a number.
        ValueError: the resource does not grow.
        TrialStopped: the trial ends here; let it pass, after cleaning up.
    """
    if metrics is not None and not isinstance(metrics, Mapping):
        raise TypeError(f"report() takes a mapping or keywords, not {metrics!r}")
    given = {**(metrics or {}), **values}
    session = current()
    if session is None:
        logger.info("report: %s", to_metrics(given, "", "report() got"))
    else:
        session.report(given, resource, checkpoint, "report() got")


def checkpoint() -> Path | None:
    """Return the directory of the checkpoint to start from, or None to start afresh."""
    session = current()
    return session.restore if session else None


def preempted() -> bool:
    """Return whether the trial's machine is about to be taken away.

    The next report that has a checkpoint is saved then, whatever the period, and the trial goes on
    from there on another machine. An objective with steps of more than some seconds should ask
    within them, and report early: do not return, which would complete the trial.
    """
    session = current()
    return session is not None and session.is_preempted


def current_trial() -> TrialInfo:
    """Return what the running trial may know of itself.

    Raises:
        ObjectiveError: no trial is running here.
    """
    session = current()
    if session is None:
        raise ObjectiveError(
            "tuneflow.current_trial() was called outside of a trial that a study runs"
        )
    return session.info
