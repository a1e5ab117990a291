"""The one shape that every objective is given: a stream of reports that is pulled.

A worker opens a stream, pulls reports from it, and closes it. Between two pulls the objective is
suspended where it reported (a command cannot be, and runs on).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias

from tuneflow.objective.output import Log
from tuneflow.trial import Failure, Resource, Segment


@dataclass(frozen=True, slots=True)
class Context:
    """What an objective runs in.

    Attributes:
        segment: what is to be run.
        metric: the study's metric, the name that a lone number is given.
        start: the level to go on from; above ``segment.start`` when a crashed segment goes on.
        restore: directory of the checkpoint to start from, or None.
        directory: the trial's own directory, in one that is the trial's too; made when needed.
        every: a checkpoint is wanted after so many reports without one, or None.
        seconds: a checkpoint is wanted after so many seconds without one, or None. Where the
            segment ends, one is wanted in any case; see `tuneflow.objective.period`.
        log: where the output goes.
        env: environment variables to set.
        grace: seconds between asking a process to end and killing it.
    """

    segment: Segment
    metric: str
    start: Resource
    restore: Path | None
    directory: Path
    every: int | None = 1
    log: Log = field(default_factory=Log)
    env: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    seconds: float | None = None

    @property
    def checkpoints(self) -> Path:
        """The directory below which checkpoints are written; it may not exist yet."""
        return self.directory.with_name("checkpoints")


@dataclass(frozen=True, slots=True)
class RawReport:
    """A report before anything is stored.

    Attributes:
        resource: the level.
        metrics: what was measured.
        checkpoint: a file or directory to store with it, or None.
        temporary: whether the checkpoint is to be deleted once it is stored.
        offered: whether there would have been one, had it been wanted.
    """

    resource: Resource
    metrics: Mapping[str, float]
    checkpoint: Path | None = None
    temporary: bool = False
    offered: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The objective ended by itself, well or with a failure."""

    failure: Failure | None = None


Event: TypeAlias = RawReport | Ended | None
"""What a pull returns; None when the time was over or `Stream.interrupt` was called."""


class Stream(ABC):
    """A running objective.

    All methods but `interrupt` are called by one thread at a time.
    """

    suspendable: ClassVar[bool] = True
    """Whether it waits between pulls, and so can be kept for the trial's next segment."""

    interruptible: ClassVar[bool] = True
    """Whether `close` ends it even while it computes."""

    saves_by_ending: ClassVar[bool] = False
    """Whether `save_soon` has it save a last checkpoint and then end by itself."""

    @abstractmethod
    def next(self, timeout: float | None = None) -> Event:
        """Let the objective go on and wait for its next report, at most ``timeout`` seconds."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make the pull in progress, or the next one, return early. Safe from any thread."""

    def save_soon(self) -> None:
        """Save a checkpoint at the next report whatever the period, for the trial is to go."""
        return  # nothing to do where all that is reported is saved anyway

    def unwanted(self) -> Path | None:
        """Return the checkpoint that the newest report named and that was not wanted, or None."""
        return None  # no report has one where it is made when it is wanted

    @abstractmethod
    def close(self, grace: float) -> bool:
        """End the objective; return whether it is gone within ``grace`` seconds."""

    def suspend(self) -> None:
        """Put a stream aside after a report, until `resume`."""
        return  # nothing to do where nothing is shared with other streams

    def resume(self, context: Context) -> None:
        """Let the trial's next segment go on with this stream."""
        raise NotImplementedError(f"{type(self).__name__} cannot go on with another segment")

    @abstractmethod
    def hint(self, metric: str) -> str:
        """Return a clause that says how such an objective reports ``metric``."""


class Objective(Protocol):
    """User code that can be opened as a stream, any number of times."""

    @property
    def name(self) -> str:
        """A short name for people."""

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables that it asks for."""

    @property
    def timeout(self) -> float | None:
        """The most seconds that it says one segment may take, or None."""

    def open(self, context: Context) -> Stream:
        """Start it."""

    def isolated(self) -> Objective:
        """Return the same objective in a process of its own."""
