"""The values that pass between the study, its workers and its storage.

A `Segment` is what a worker is asked to do, a `Report` is what a trial says on the way, and an
`Outcome` is what the worker leaves behind. All three are JSON on the wire and in storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from tuneflow.errors import CorruptError
from tuneflow.jsonio import decode_metrics, encode_metrics
from tuneflow.shapes import Check, checks_of, require

Resource: TypeAlias = int | float
"""What a trial spends to be known better: epochs, boosting rounds, a fraction of the data."""

Params: TypeAlias = dict[str, Any]
"""A configuration: parameter names to JSON values, nested as the search space is."""

Mode: TypeAlias = Literal["min", "max"]
"""Whether a smaller or a larger metric is better."""

Status: TypeAlias = Literal["paused", "completed", "stopped", "failed", "lost"]
"""How a segment ended; see `Outcome`."""


class TrialState(StrEnum):
    """Where a trial stands."""

    RUNNING = "running"
    """A segment of it is launched and has no outcome yet."""
    PAUSED = "paused"
    """It waits, to be resumed, cloned into, retried or stopped."""
    COMPLETED = "completed"
    """Its objective ended by itself, or it reached the scheduler's maximum resource."""
    STOPPED = "stopped"
    """The scheduler or a budget ended it early."""
    FAILED = "failed"
    """It raised, returned no usable metric, or died, and is not tried again."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more is done for such a trial."""
        return self not in (TrialState.RUNNING, TrialState.PAUSED)


@dataclass(frozen=True, slots=True)
class Report:
    """Metrics of a trial at one resource level.

    Attributes:
        resource: the level, in the scheduler's unit.
        metrics: metric names to floats; NaN and infinity are allowed.
        checkpoint: reference of the checkpoint that was saved with it, or None.
        time: seconds since the epoch when it was made; it is not journaled.
    """

    resource: Resource
    metrics: Mapping[str, float]
    checkpoint: str | None = None
    time: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, for outcomes and manifests."""
        data: dict[str, Any] = {
            "resource": self.resource,
            "metrics": encode_metrics(self.metrics),
            "time": self.time,
        }
        if self.checkpoint is not None:
            data["checkpoint"] = self.checkpoint
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read what `to_json` wrote. Raises TypeError, ValueError or KeyError for anything else."""
        require(_CHECKS[cls], data)
        return cls(
            data["resource"],
            decode_metrics(data["metrics"]),
            data.get("checkpoint"),
            data.get("time", 0.0),
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """The unit of execution: take one trial from a checkpoint, or from nothing, up to ``until``.

    Attributes:
        trial: the trial's number.
        segment: the segment's number within the trial; with ``trial`` it names the outcome.
        params: the configuration.
        start: the resource level of ``checkpoint``; 0 without one.
        until: the resource level to pause at; None runs the objective to its end.
        checkpoint: reference of the checkpoint to start from, or None.
        max_resource: the most that this trial will ever be given, or None; what a learning rate
            schedule should be tied to.
        attempt: 0 for the first try, then one more for each recorded retry.
        resources: what it occupies; an amount that is not named is the study's. None: all are.
        since: the trial's first segment with this configuration. Where ``checkpoint`` turns out to
            be damaged, an older one of the segments from that one on takes its place.
    """

    trial: int
    segment: int
    params: Params
    start: Resource = 0
    until: Resource | None = None
    checkpoint: str | None = None
    max_resource: Resource | None = None
    attempt: int = 0
    resources: Mapping[str, Any] | None = None
    since: int = 0

    @property
    def key(self) -> tuple[int, int]:
        """Trial and segment number, unique within a study."""
        return self.trial, self.segment

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that is sent to workers."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.resources is None:
            del data["resources"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Segment:
        """Read what `to_json` wrote."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a segment failed.

    Attributes:
        kind: the exception's class name, or "exit", "signal", "timeout", "metric", "lost".
        message: one sentence.
        traceback: the trial's own traceback or last output, possibly empty.
    """

    kind: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"

    def to_json(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"kind": self.kind, "message": self.message, "traceback": self.traceback}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Failure:
        """Read what `to_json` wrote. Raises TypeError or ValueError for anything else."""
        failure = cls(**data)
        require(_CHECKS[cls], data)
        return failure


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker leaves when a segment ends; written once, at a name known beforehand.

    Attributes:
        trial: the trial's number.
        segment: the segment's number.
        status: "paused" (reached ``until``), "completed" (the objective ended by itself),
            "stopped" (told to), "failed" (its own fault), "lost" (its worker went away).
        reports: every report of the segment, oldest first.
        failure: why, for "failed" and "lost".
        started: seconds since the epoch.
        ended: the same, and the seconds that the segment took, though the clock was set meanwhile.
        worker: a name of the place it ran at, for the timeline.
    """

    trial: int
    segment: int
    status: Status
    reports: tuple[Report, ...] = ()
    failure: Failure | None = None
    started: float = 0.0
    ended: float = 0.0
    worker: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """Trial and segment number, unique within a study."""
        return self.trial, self.segment

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that is stored."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["reports"] = [report.to_json() for report in self.reports]
        data["failure"] = self.failure.to_json() if self.failure else None
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read what `to_json` wrote. Raises CorruptError when it is something else."""
        try:
            failure = data["failure"]
            require(_CHECKS[cls], data)
            outcome = cls(**{**data, "reports": (), "failure": None})
            return replace(
                outcome,
                reports=tuple(map(Report.from_json, data["reports"])),
                failure=Failure.from_json(failure) if failure else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"an outcome does not have the right form: {error}") from error


def outcome_path(trial: int, segment: int) -> str:
    """Return where a segment's outcome lies, relative to the study."""
    return f"trials/{trial:06d}/segments/{segment:04d}.json"


def checkpoint_prefix(trial: int, segment: int) -> str:
    """Return what the references of all checkpoints of a segment begin with."""
    return f"trials/{trial:06d}/checkpoints/{segment:04d}-"


def checkpoint_ref(trial: int, segment: int, resource: Resource) -> str:
    """Return the reference of a checkpoint: the path of its manifest, relative to the study."""
    return f"{checkpoint_prefix(trial, segment)}{resource!r}.json"


def log_path(trial: int, segment: int) -> str:
    """Return where the captured output of a segment lies, relative to the study."""
    return f"trials/{trial:06d}/logs/{segment:04d}.txt"


@dataclass(slots=True)
class Trial:
    """What is known of one trial; a fold of its facts, kept by `tuneflow.history.History`.

    Attributes:
        number: 0, 1, 2, … in the order of suggestion.
        params: the configuration it runs with now (PBT changes it).
        bracket: the scheduler's bracket it belongs to.
        state: where it stands.
        segment: number of its latest segment.
        start: where its latest segment began.
        origin: reference of the checkpoint that its latest segment began from, or None.
        until: where its latest segment is to pause; None is the objective's own end.
        resource: the highest level it has reported.
        reports: its reports, oldest first, each level once.
        checkpoint: reference of its newest checkpoint, or None.
        checkpoint_resource: the level of that checkpoint; 0 without one.
        attempt: retries of the latest segment.
        failures: how often it failed by its own fault.
        losses: how often its worker went away since it last came to a new level.
        stopping: the reason why it was told to stop, or None.
        failure: its latest failure, or None.
        source: the trial whose checkpoint it was last cloned from, or None.
        outdated: how many of its reports other parameters made: those from before it was cloned
            into, or resumed with other ones.
        resources: what its latest segment occupies, where that is not what the study says.
        since: its first segment with the parameters that it has now.
    """

    number: int
    params: Params
    bracket: int = 0
    state: TrialState = TrialState.RUNNING
    segment: int = -1
    start: Resource = 0
    origin: str | None = None
    until: Resource | None = None
    resource: Resource = 0
    reports: list[Report] = field(default_factory=list)
    checkpoint: str | None = None
    checkpoint_resource: Resource = 0
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    stopping: str | None = None
    failure: Failure | None = None
    source: int | None = None
    outdated: int = 0
    resources: Mapping[str, Any] | None = None
    since: int = 0

    def latest(self, metric: str) -> float | None:
        """Return the newest value of a metric, or None when no report has it."""
        for report in reversed(self.reports):
            if metric in report.metrics:
                return report.metrics[metric]
        return None


_CHECKS: dict[type[Any], dict[str, Check]] = {
    cls: checks_of(cls) for cls in (Report, Failure, Outcome)
}
