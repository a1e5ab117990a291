"""What a worker is asked to do for a stored study; all of it is JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from tuneflow.jsonio import decode_metrics, encode_float, encode_metrics
from tuneflow.remote.code import Code
from tuneflow.trial import Outcome


@dataclass(frozen=True)
class SegmentOrder:
    """Run one segment of a stored study.

    Attributes:
        study: the study's URL.
        trial: the trial's number.
        segment: the segment's number within the trial.
        code: the objective.
        attempt: tells tries of the same segment apart that must not be taken for one another.
        isolation: "thread" or "process"; see `tuneflow.job.Job`.
        timeout: the most seconds that the segment may take, or None.
        resources: what the segment occupies, where that is not what the study says.
    """

    study: str
    trial: int
    segment: int
    code: Code
    attempt: int = 1
    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None
    resources: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """The name of the Dask task: the same order is never run twice at once."""
        return segment_key(self.study, self.trial, self.segment, self.attempt)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**_plain(self), "code": self.code.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**{**data, "code": Code.from_json(data["code"])})


@dataclass(frozen=True)
class DriverOrder:
    """Drive a stored study to its end, with its trials on the same cluster.

    Attributes:
        study: the study's URL; it has been created.
        code: the objective.
        attempt: tells drivers apart that must not be taken for one another.
        isolation: "thread" or "process", for the trials.
        timeout: the most seconds that a segment may take, or None.
        retry_failed: try failed trials again, also in a study that has finished.
        epoch: the study's epoch when this was made: where it is another one by now, a driver that
            has begun has seen to ``retry_failed``, and the next one must not do it again.
        settings: more of the `tuneflow.executors.DaskExecutor`, such as ``parallel``.
    """

    study: str
    code: Code
    attempt: int = 1
    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None
    retry_failed: bool = False
    epoch: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The name of the Dask task."""
        return driver_key(self.study, self.attempt)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**_plain(self), "code": self.code.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**{**data, "code": Code.from_json(data["code"])})


@dataclass(frozen=True)
class Answer:
    """What is heard of a segment's order.

    Attributes:
        trial: the trial's number.
        segment: the segment's number.
        status: that of the outcome; "abandoned" when there is none, because it was told to end.
        resource: the level that it came to, or None without a report.
        value: the metric's newest value, or None.
        others: the newest value of each other metric.
        failure: one sentence when it failed or was lost, else empty.
        kind: the failure's kind, such as the exception's name; else empty.
    """

    trial: int
    segment: int
    status: str
    resource: int | float | None = None
    value: float | None = None
    failure: str = ""
    kind: str = ""
    others: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, outcome: Outcome, metric: str) -> Self:
        """Return what an outcome comes to."""
        reports, failure = outcome.reports, outcome.failure
        newest = {name: value for report in reports for name, value in report.metrics.items()}
        return cls(
            *outcome.key,
            status=outcome.status,
            resource=reports[-1].resource if reports else None,
            value=newest.pop(metric, None),
            failure=failure.message if failure else "",
            kind=failure.kind if failure else "",
            others=newest,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; a value that is not finite is a string, as in the journal."""
        value = None if self.value is None else encode_float(self.value)
        return {**_plain(self), "value": value, "others": encode_metrics(self.others)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        value, others = data["value"], decode_metrics(data.get("others", {}))
        return cls(**{**data, "value": None if value is None else float(value), "others": others})


def study_key(url: str) -> str:
    """Return what the keys of all Dask tasks of a study begin with."""
    return f"tuneflow-{hashlib.sha256(url.encode()).hexdigest()[:16]}"


def segment_key(url: str, trial: int, segment: int, attempt: int) -> str:
    """Return the key of a segment's order."""
    return f"{study_key(url)}-{trial}-{segment}-{attempt}"


def driver_key(url: str, attempt: int) -> str:
    """Return the key of a study's driver."""
    return f"{study_key(url)}-driver-{attempt}"


def beginning_of(key: str) -> str:
    """Return the Dask topic on which a driver says that it has begun to run trials."""
    return f"{key}-begun"


def topic_of(key: str) -> str:
    """Return the Dask topic on which what an order reports is said: one for each study."""
    return "-".join(key.split("-")[:2])


def _plain(order: SegmentOrder | DriverOrder | Answer) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__dataclass_fields__}
