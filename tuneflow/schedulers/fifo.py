"""First in, first out: every trial runs to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.schedulers.base import Decision, Resume, Scheduler, Start
from tuneflow.schedulers.levels import check_resources
from tuneflow.schedulers.paused import Paused
from tuneflow.trial import Resource


@dataclass(frozen=True)
class FIFO(Scheduler):
    """Run trials in the order of suggestion, each to its end.

    Args:
        max_resource: the level that ends a trial; None (the default) leaves it to the
            objective.
    """

    type: ClassVar[str] = "fifo"

    max_resource: Resource | None = None

    def __post_init__(self) -> None:
        if self.max_resource is not None:
            check_resources(self.max_resource, self.max_resource)

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.max_resource

    @property
    def pauses(self) -> bool:
        """It does not."""
        return False

    def next(self, history: History) -> Decision | None:
        """Go on with what was paused, else start a trial while there are any."""
        paused = history.index(self, lambda: Paused(self.max_resource)).trials
        if paused:
            return Resume(next(iter(paused)), self.max_resource)
        return None if history.exhausted else Start(self.max_resource)
