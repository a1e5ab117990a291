"""What an executor is: it runs segments somewhere and says what they report.

A driver owns one executor and calls it from one thread:

    with executor:
        executor.open(job, objective)
        executor.submit(segment)
        for message in executor.wait(timeout=1.0):
            ...
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

from tuneflow.errors import SpecError
from tuneflow.interrupt import Terminated
from tuneflow.preemption import grace_seconds
from tuneflow.trial import Outcome, Report, Segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import Job

_HURRY = 5.0
"""Seconds that trials have to save after Ctrl-C: somebody waits for the end."""

_SHARE = 0.8
"""The part of the grace that trials have to save when the driver is ended."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A running segment reported.

    Attributes:
        trial: the trial's number.
        segment: the segment's number within the trial.
        report: what it reported.
        worker: a name of the place it runs at, possibly empty.
    """

    trial: int
    segment: int
    report: Report
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A segment is over; its outcome holds every report, whether its `Progress` came or not."""

    outcome: Outcome


Message: TypeAlias = Progress | Ended


class Executor(ABC):
    """Runs segments somewhere and says what they report.

    Every executor keeps these promises, and no driver may rely on more:

    * For each submitted segment there is exactly one `Ended`, and no `Progress` after it.
    * `Progress` may come late or not at all, and a level may come twice, when a segment was
      begun anew elsewhere; the outcome is complete. None is left out before one that comes: a
      report that is told of too late, after the next one, would not count any more.
    * A segment that was told to stop ends at its next report, as "stopped" unless it got to its
      end first. One that had not begun ends as "stopped" without reports.
    * A segment whose worker went away is tried elsewhere a bounded number of times, then ends as
      "lost". Nothing that a trial does to its own process ends the executor.
    * After `close` nothing that the executor started is left running.

    An executor may be entered as a context manager: leaving it closes it, and abandons what runs
    when an exception is the reason; after Ctrl-C or SIGTERM what runs may save a checkpoint first.
    """

    stores_outcomes: ClassVar[bool] = True
    """Whether a segment's outcome is in the store when its `Ended` is said."""

    runs_meanwhile: ClassVar[bool] = False
    """Whether segments run on, in real time, while the driver does something else."""

    @abstractmethod
    def open(self, job: Job, objective: Objective) -> None:
        """Get ready to run segments of one study.

        Args:
            job: what is the same for all segments of the study.
            objective: the user's code; it is sent to each worker once.

        Raises:
            ClusterError: the cluster cannot be reached, or can never run what is asked of it.
            ObjectiveError: the objective cannot be sent to where it should run.
        """

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many segments may be submitted and not ended, as things are now; at least 1."""

    @abstractmethod
    def submit(self, segment: Segment) -> None:
        """Have a segment run. One that has not ended yet is not submitted twice."""

    @abstractmethod
    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said since the last call, waiting for at least one message.

        Args:
            timeout: the longest wait in seconds; None waits for ever. Then the list is empty.

        Raises:
            ClusterError: the cluster is gone, and with it everything that ran there.
        """

    def wake(self) -> None:
        """Have the `wait` in progress, or the next one, return early; safe from any thread."""
        return  # nothing to do where no wait takes longer than an objective's next report

    @abstractmethod
    def cancel(self, trial: int, segment: int) -> None:
        """Ask a segment to stop at its next report; nothing happens when it has ended."""

    def preempt(self, grace: float) -> None:
        """Have all that runs save a checkpoint and end without an outcome; `close` follows.

        Args:
            grace: the most seconds to wait for that.
        """
        return  # nothing to do where nothing is saved

    @abstractmethod
    def close(self, *, abandon: bool) -> None:
        """Release everything that `open` and `submit` started; closing twice is harmless.

        Args:
            abandon: end what still runs, at once and without an outcome, so that a later driver
                runs it again from its last checkpoint.
        """

    def now(self) -> float:
        """Return the seconds since some fixed moment, by the clock that segments run by."""
        return time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if isinstance(error, KeyboardInterrupt):
                # A part of the grace is for what comes after.
                share = _SHARE * grace_seconds()
                self.preempt(share if isinstance(error, Terminated) else min(share, _HURRY))
        finally:
            self.close(abandon=kind is not None)


def check_isolation(isolation: str, timeout: float | None) -> None:
    """Raise SpecError unless these can be how an executor runs its trials."""
    if isolation not in ("thread", "process"):
        raise SpecError("isolation", f"{isolation!r} is neither 'thread' nor 'process'")
    if timeout is not None and not timeout > 0:
        raise SpecError("timeout", f"{timeout} is no time to wait", "give seconds above 0")
