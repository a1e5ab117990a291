"""The facts that a study's history consists of, and their JSON.

A fact says what has happened, never what should be done. The journal holds facts, one JSON
object a line; everything else that is known of a study is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tuneflow.errors import CorruptError
from tuneflow.jsonio import dumps, encode_metrics, loads
from tuneflow.shapes import Check, checks_of, require
from tuneflow.trial import Failure, Params, Report, Resource, Status


@dataclass(frozen=True, slots=True)
class Launched:
    """A segment was handed out.

    Attributes:
        trial: the trial's number; the next free one begins a trial.
        segment: the segment's number within the trial.
        until: where it is to pause, or None for the objective's own end.
        start: the level of the checkpoint it starts from; 0 without one.
        checkpoint: reference of that checkpoint, or None.
        params: the configuration when the segment begins or changes one, else None.
        bracket: the scheduler's bracket, said when the trial begins.
        source: the trial that was cloned, or None.
        attempt: how many earlier tries of this segment were recorded.
        late: whether ``params`` were drawn at random because the searcher took too long.
        resources: what the segment occupies where that is not what the study says, else None.
    """

    trial: int
    segment: int
    until: Resource | None
    start: Resource = 0
    checkpoint: str | None = None
    params: Params | None = None
    bracket: int = 0
    source: int | None = None
    attempt: int = 0
    late: bool = False
    resources: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """A trial reported metrics at a level it had not reported before."""

    trial: int
    report: Report


@dataclass(frozen=True, slots=True)
class Stopped:
    """A trial was told to stop: at once when it is paused, else at its next report."""

    trial: int
    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A trial's segment ended.

    Attributes:
        trial: the trial's number.
        status: how; see `tuneflow.trial.Outcome`.
        failure: why, for "failed" and "lost".
        retry: whether the segment is to be launched once more.
    """

    trial: int
    status: Status
    failure: Failure | None = None
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Exhausted:
    """There will be no new trial: the limit is reached, or the searcher has no more."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more will be launched, ever."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halted:
    """Nothing more is launched until the study is opened again; running segments stay open."""

    reason: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A driver took the study over.

    Attributes:
        epoch: counts drivers; an older one that wakes up sees a newer epoch and ends.
        retry_failed: whether failed trials are to be tried again.
    """

    epoch: int
    retry_failed: bool = False


@dataclass(frozen=True, slots=True)
class Elapsed:
    """So much time had been spent on the study; said only under a budget of time.

    Attributes:
        seconds: of driving it.
        trial_time: seconds that its trials took, added up; said only where they are limited.
    """

    seconds: float
    trial_time: float = 0.0


Fact: TypeAlias = (
    Launched | Reported | Stopped | Closed | Exhausted | Finished | Halted | Opened | Elapsed
)

_TYPES: dict[str, type[Any]] = {
    "launched": Launched,
    "reported": Reported,
    "stopped": Stopped,
    "closed": Closed,
    "exhausted": Exhausted,
    "finished": Finished,
    "halted": Halted,
    "opened": Opened,
    "elapsed": Elapsed,
}
_NAMES = {cls: name for name, cls in _TYPES.items()}
_DEFAULTS: dict[type[Any], dict[str, Any]] = {
    cls: {name: field.default for name, field in cls.__dataclass_fields__.items()}
    for cls in _TYPES.values()
}

_CHECKS: dict[type[Any], dict[str, Check]] = {cls: checks_of(cls) for cls in _TYPES.values()}


def encode(fact: Fact) -> str:
    """Return a fact as one line of JSON; fields that have their default are left out."""
    kind = type(fact)
    data: dict[str, Any] = {"fact": _NAMES[kind]}
    if isinstance(fact, Reported):
        data |= {"trial": fact.trial, "resource": fact.report.resource}
        data["metrics"] = encode_metrics(fact.report.metrics)
        if fact.report.checkpoint is not None:
            data["checkpoint"] = fact.report.checkpoint
        return dumps(data)
    for name, default in _DEFAULTS[kind].items():
        value = getattr(fact, name)
        if value != default:
            data[name] = value.to_json() if isinstance(value, Failure) else value
    return dumps(data)


def decode(line: str | bytes) -> Fact:
    """Read a line that `encode` wrote. Raises CorruptError for anything else."""
    try:
        data = loads(line)
        kind = data.pop("fact")
        return _decode(kind, data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptError(f"not a fact of a study: {line[:200]!r} ({error})") from error


def _decode(kind: str, data: dict[str, Any]) -> Fact:
    if kind == "reported":
        require(_CHECKS[Reported], data)
        return Reported(data.pop("trial"), Report.from_json(data))
    if data.get("failure") is not None:
        data = {**data, "failure": Failure.from_json(data["failure"])}
    make: Callable[..., Fact] = _TYPES[kind]
    require(_CHECKS[_TYPES[kind]], data)
    return make(**data)
