"""Several stoppers as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tuneflow.history import History
from tuneflow.stoppers.base import Stopper, Watch, horizon, require
from tuneflow.trial import Report, Resource


@dataclass(frozen=True)
class Combined(Stopper):
    """End a trial, or the study, when any of several stoppers would, or all of them.

    Args:
        stoppers: the stoppers, one or more.
        mode: "any" (the default, as in Ray Tune): what one of them says is done. "all": a trial
            ends when all of them say so at the same report, and the study when all of them would
            end it. To a trial an `ExperimentPlateau` says what it says of the study.
    """

    type: ClassVar[str] = "combined"

    stoppers: tuple[Stopper, ...]
    mode: Literal["any", "all"] = "any"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stoppers", tuple(self.stoppers))
        require(bool(self.stoppers), "stoppers", "there is none", "give one stopper or more")
        is_right = self.mode in ("any", "all")
        require(is_right, "mode", f"{self.mode!r} is neither 'any' nor 'all'")

    def watch(self, history: History) -> Watch:
        """Return a watch that asks the watches of all stoppers."""
        return _All([stopper.watch(history) for stopper in self.stoppers], self.mode)

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the next level at which one of them looks at a trial."""
        return horizon(self.stoppers, resource, until)


class _All(Watch):
    """The watches of several stoppers."""

    def __init__(self, watches: Sequence[Watch], mode: Literal["any", "all"]) -> None:
        self._watches = watches
        self._least = 1 if mode == "any" else len(watches)

    def report(self, trial: int, report: Report) -> str | None:
        """Feed all of them, also those that come after one that has decided."""
        return self._verdict([watch.report(trial, report) for watch in self._watches])

    def ending(self) -> str | None:
        """Ask all of them."""
        return self._verdict([watch.ending() for watch in self._watches])

    def _verdict(self, reasons: Sequence[str | None]) -> str | None:
        given = [reason for reason in reasons if reason is not None]
        return " and ".join(given) if len(given) >= self._least else None
