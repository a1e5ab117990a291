"""How a driver's work ends, and when one that was lost is to be given up."""

from __future__ import annotations

from tuneflow.errors import ClusterError
from tuneflow.history import History
from tuneflow.remote.orders import DriverOrder
from tuneflow.study import Study, halting

PATIENCE = 600.0
"""Seconds that a cluster may be away while a driver is watched."""

PAUSE = 2.0
"""Seconds before a driver that was lost is ordered again."""

_LOSSES = 5
"""How many drivers may be lost in a row without a segment that ends in between."""


def is_halted(study: Study, history: History) -> bool:
    """Return whether failed trials have halted a study; one that was interrupted goes on."""
    return history.halted is not None and halting(study, history) is not None


def known_end(order: DriverOrder, study: Study, history: History) -> dict[str, str] | None:
    """Return how a study has ended, as a driver answers, if it has since the order was made."""
    if order.retry_failed and history.epoch == order.epoch:
        return None
    if history.state == "finished":
        return {"state": "finished", "reason": history.finished or ""}
    if is_halted(study, history):
        return {"state": "halted", "reason": history.halted or ""}
    return None


class Losses:
    """Counts the drivers that were lost in a row.

    Args:
        closings: how many segments have ended so far; where one has meanwhile, the count begins
            anew.
    """

    def __init__(self, closings: int) -> None:
        self._closings = closings
        self._count = 0

    def note(self, error: ClusterError, closings: int) -> None:
        """Count one more. Raises the error when there were too many."""
        self._count = 1 if closings > self._closings else self._count + 1
        self._closings = closings
        if self._count > _LOSSES:
            raise error
