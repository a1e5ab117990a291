"""When a trial's checkpoints are saved, and which of them are kept."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tuneflow.errors import SpecError


@dataclass(frozen=True, slots=True)
class Keep:
    """Which checkpoints are kept; all of them if neither is given.

    Whatever these say, the checkpoint that a running or paused trial goes on from is kept, and so
    is the newest one of the best trial.

    Args:
        last: the newest so many of each trial.
        best: the best so many of the study, by its (first) metric.
    """

    last: int | None = None
    best: int | None = None

    def __post_init__(self) -> None:
        for name in ("last", "best"):
            value = getattr(self, name)
            if value is not None:
                _require(_is_count(value, 0), f"keep.{name}", value, "a whole number, 0 or more")

    @property
    def all(self) -> bool:
        """Whether nothing is ever thrown away."""
        return self.last is None and self.best is None


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """When checkpoints are saved, and which are kept.

    One is saved at a report, if the objective offers one there: where the period is over, where
    the segment ends, and when the machine is about to be taken away.

    Args:
        every: the period in reports. Default: 1, or none if ``seconds`` is given.
        seconds: the period in seconds. With both, whichever is over first.
        keep: which ones are kept. Default: all.
        background: whether a trial trains on while its checkpoint is uploaded, where it does not
            run in step with the driver. Default True.
    """

    every: int | None = None
    seconds: float | None = None
    keep: Keep = Keep()
    background: bool = True

    def __post_init__(self) -> None:
        every, seconds = self.every, self.seconds
        if every is not None:
            _require(_is_count(every, 1), "every", every, "a whole number, 1 or more")
        if seconds is not None:
            _require(_is_time(seconds), "seconds", seconds, "a number above 0")
        _require(isinstance(self.keep, Keep), "keep", self.keep, "Keep(last=…, best=…)")
        is_switch = isinstance(self.background, bool)
        _require(is_switch, "background", self.background, "true or false")

    @property
    def period(self) -> int | None:
        """The period in reports that is in force, or None."""
        return 1 if self.every is None and self.seconds is None else self.every

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: what differs from the defaults."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        keep = {key: value for key, value in data.pop("keep").items() if value is not None}
        if data.pop("background"):
            return {**data, "keep": keep} if keep else data
        return {**data, **({"keep": keep} if keep else {}), "background": False}


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _is_time(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and value > 0


def _require(condition: bool, field: str, value: Any, fix: str) -> None:
    if not condition:
        raise SpecError(f"checkpoints.{field}", f"{value!r} cannot be used", f"give {fix}")
