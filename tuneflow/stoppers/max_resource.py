"""End each trial at a level, as Ray Tune's MaximumIterationStopper does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.stoppers.base import Stopper, Watch, require_above_zero
from tuneflow.trial import Report, Resource


@dataclass(frozen=True)
class MaxResource(Stopper):
    """End a trial that has reached a level.

    Args:
        max_resource: the level.

    It is meant for schedulers without a ``max_resource``, and for combinations with other
    stoppers. A trial that is ended so is stopped, not completed.
    """

    type: ClassVar[str] = "max_resource"

    max_resource: Resource

    def __post_init__(self) -> None:
        require_above_zero("max_resource", self.max_resource)

    def watch(self, history: History) -> Watch:
        """Return a watch; it need not remember anything."""
        return _Levels(self.max_resource)

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the level, for a trial that is below it."""
        if resource >= self.max_resource:
            return until
        return self.max_resource if until is None else min(self.max_resource, until)


class _Levels(Watch):
    """Compares levels."""

    def __init__(self, end: Resource) -> None:
        self._end = end

    def report(self, trial: int, report: Report) -> str | None:
        """Say so when the level is reached."""
        return f"it has reached the level {self._end:g}" if report.resource >= self._end else None
