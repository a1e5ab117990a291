"""A segment on its way through a Dask cluster, what is heard of it, and how it may end badly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from distributed import CancelledError, Future
from distributed.scheduler import KilledWorker

from tuneflow.errors import ObjectiveError
from tuneflow.executors.placement import Request
from tuneflow.trial import Failure, Outcome, Report, Segment

if TYPE_CHECKING:
    from tuneflow.worker import How

# Deaths after which a segment runs apart from others that have seen as many.
_SUSPICIOUS = 2

# Seconds of work that should wait for each slot, so that no worker waits for the driver.
_AHEAD = 0.05


@dataclass(slots=True)
class Flight:
    """A segment that was handed to the cluster.

    Attributes:
        launch: the number of this launch; a segment that is launched again gets another one.
        segment: what is to be run.
        request: what it takes of a worker.
        where: the worker that it is at, or was sent to; None where Dask chooses.
        future: of its task, once that is sent.
        alone: whether its task runs no other segment.
        began: whether it has begun there.
        stopping: whether it is to end as stopped.
        told: the worker that was told to end it, and how.
        reports: what it has reported, in earlier launches too; each level once.
        deaths: how many workers have died with it since it got there.
        misses: how often its workers lacked the objective.
        avoids: workers that could not use the storage for it.
        roams: whether Dask may run it elsewhere by itself.
        is_followed: whether it is being asked of a worker that is about to go.
    """

    launch: int
    segment: Segment
    request: Request
    where: str | None
    future: Future[Any] | None = None
    alone: bool = True
    began: bool = False
    stopping: bool = False
    told: tuple[str, How] | None = None
    reports: list[Report] = field(default_factory=list)
    deaths: int = 0
    misses: int = 0
    avoids: frozenset[str] = frozenset()
    roams: bool = False
    is_followed: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what its workers die of."""
        return self.deaths >= _SUSPICIOUS

    def note(self, report: Report) -> None:
        """Take note of a report: a segment that gets on is not what its workers die of."""
        if not self.reports or report.resource > self.reports[-1].resource:
            self.reports.append(report)
            self.deaths = 0


@dataclass(slots=True)
class Pace:
    """How long segments take lately, and so how many should wait for each slot.

    Attributes:
        prefetch: the most.
        seconds: the running mean of what a segment took; None before the first one.
    """

    prefetch: int
    seconds: float | None = None

    def note(self, outcome: Outcome) -> None:
        """Take the segments that a worker ran to their end into account."""
        if outcome.ended:
            seconds = outcome.ended - outcome.started
            mean = seconds if self.seconds is None else self.seconds
            self.seconds = mean + 0.2 * (seconds - mean)

    @property
    def waiting(self) -> int:
        """How many segments should wait for each slot now."""
        if self.seconds is None:
            return 0
        return int(min(self.prefetch, _AHEAD / max(self.seconds, 1e-6)))


@dataclass(frozen=True, slots=True)
class Heard:
    """Messages of running segments in their order, as JSON."""

    messages: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A task ended; no more is heard of its launches."""

    launches: Sequence[int]
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class Woken:
    """Somebody wants the driver to look up."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A launch does not run any more where its worker was about to go."""

    launch: int


Event: TypeAlias = Heard | Settled | Woken | Gone


def stopped(segment: Segment) -> Outcome:
    """Return the outcome of a segment that was to stop, and runs nowhere."""
    return Outcome(*segment.key, "stopped")


def lost(segment: Segment, why: str) -> Outcome:
    """Return the outcome of a segment that the cluster could not run to its end."""
    return Outcome(*segment.key, "lost", failure=Failure("lost", why))


def died(segment: Segment, deaths: int) -> Outcome:
    """Return the outcome of a segment whose workers went away each time."""
    why = "it may crash, hang or take too much memory, which 'isolation: process' would tell"
    return lost(segment, f"{deaths} workers went away with it; {why}")


def raised(segment: Segment, error: BaseException | None) -> Outcome:
    """Return the outcome of a segment whose task raised; user code that raises does not do that."""
    if isinstance(error, ObjectiveError):
        failure = Failure("ObjectiveError", str(error))
        return Outcome(*segment.key, "failed", failure=failure)
    if isinstance(error, KilledWorker):
        return died(segment, error.allowed_failures + 1)
    return lost(segment, f"its worker could not run it: {type(error).__name__}: {error}")


def is_disconnected(future: Future[Any]) -> bool:
    """Return whether a future was cancelled because the scheduler is out of reach."""
    try:
        future.result()
    except CancelledError as error:
        return getattr(error, "reason", "") == "scheduler-connection-lost"
    return False
