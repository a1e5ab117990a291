"""What a stopper is: a rule beside the scheduler that ends single trials, or the whole study."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.schedulers.base import to_json
from tuneflow.trial import Mode, Report, Resource


class Watch(ABC):
    """What a stopper makes of the reports of one study; it is fed each of them once, in order."""

    @abstractmethod
    def report(self, trial: int, report: Report) -> str | None:
        """Take in a report, and return why its trial is to end now, or None."""

    def ending(self) -> str | None:
        """Return why the whole study is to end, or None."""
        return None


@dataclass(frozen=True)
class Stopper(ABC):
    """Says when a trial, or a study, has had enough. A frozen value without state of its own.

    It judges by reports alone, each as it comes, so a replay stops where the study stopped. A
    scheduler is not asked about it: it learns that the trial was told to stop.
    """

    type: ClassVar[str]
    """The name that study files use."""

    @abstractmethod
    def watch(self, history: History) -> Watch:
        """Return a new watch, which has seen nothing yet.

        Args:
            history: the study's; what never changes in it may be used, such as its objectives.
        """

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return where a segment must pause for this stopper, when nobody can stop it on the way.

        It is asked in rounds, with a scheduler that goes on with whatever is paused. Default:
        where the scheduler wants it to.
        """
        return until

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the type, and every field that is set."""
        return to_json(self)


def horizon(
    stoppers: Sequence[Stopper], resource: Resource, until: Resource | None
) -> Resource | None:
    """Return where a segment must pause for all of these stoppers."""
    for stopper in stoppers:
        until = stopper.horizon(resource, until)
    return until


def after(interval: Resource | None, resource: Resource, until: Resource | None) -> Resource | None:
    """Return the level an interval after another one, at most ``until``."""
    if interval is None:
        return until
    return resource + interval if until is None else min(resource + interval, until)


def goal(history: History, metric: str | None, mode: Mode | None) -> tuple[str, Mode]:
    """Return the metric that a stopper looks at and its mode, by default the study's."""
    name = history.metric if metric is None else metric
    return name, mode or dict(history.objectives).get(name, history.mode)


def deviation(values: Collection[float]) -> float:
    """Return the standard deviation of finite values (divided by n)."""
    mean = math.fsum(value / len(values) for value in values)
    return math.hypot(*(value - mean for value in values)) / math.sqrt(len(values))


def require(condition: bool, field: str, problem: str, fix: str = "") -> None:
    """Raise a SpecError for a stopper's field unless the condition holds."""
    if not condition:
        raise SpecError(f"stopper.{field}", problem, fix)


def require_whole(field: str, value: Any, least: int) -> None:
    """Raise a SpecError for a stopper's field unless it is a whole number of at least so much."""
    is_right = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(is_right, field, f"{value!r} is not a whole number of {least} or more")


def require_above_zero(field: str, value: Any) -> None:
    """Raise a SpecError for a stopper's field unless it is a finite number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_right = is_number and math.isfinite(value) and value > 0
    require(is_right, field, f"{value!r} is not a number above 0")


def require_mode(mode: Any) -> None:
    """Raise a SpecError unless a stopper's mode is one, or None."""
    require(mode in (None, "min", "max"), "mode", f"{mode!r} is neither 'min' nor 'max'")
