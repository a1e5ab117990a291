"""Progressive asynchronous successive halving (PASHA).

Bohdal, Balles, Wistuba, Ermis, Archambeau, Zappella: PASHA: Efficient HPO and NAS with Progressive
Resource Allocation, ICLR 2023, with soft ranking, and epsilon estimated from the noise. The
defaults are those of the paper and of Syne Tune.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.schedulers.base import require, require_number
from tuneflow.schedulers.crossings import Crossings
from tuneflow.schedulers.rung import Rung
from tuneflow.schedulers.rungs import AsyncHalving, Rungs
from tuneflow.trial import Resource


@dataclass(frozen=True)
class PASHA(AsyncHalving):
    """Promote as ASHA does, but only as far as it takes until the ranking has settled.

    Args:
        max_resource: R, the most that a trial can ever get.
        min_resource: r, the lowest rung. Default 1.
        reduction_factor: eta; the best 1/eta of a rung goes on. Default 3.
        percentile: which percentile of the noise epsilon is, from 0 to 100. Default 90.

    At first nobody is promoted beyond the second rung. The next one is unlocked when the top two
    rungs disagree: when the k-th best trial of the top rung differs by more than epsilon, in the
    values of the rung below, from the k-th best of these trials there. So a study in which the
    order is clear early never pays for R, and its best trial may have less than R.

    The noise are the differences of pairs of trials whose learning curves cross and cross back,
    each at the highest level above the second rung from the top that both have reported at.
    Without such a pair epsilon stays what it was; it begins with 0. An objective should report at
    levels between the rungs too. Failed trials, NaN and infinity rank last, and say nothing of
    the order.
    """

    type: ClassVar[str] = "pasha"

    max_resource: Resource
    min_resource: Resource = 1
    reduction_factor: float = 3
    percentile: float = 90

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("percentile", self.percentile, -math.inf)
        is_share = 0 <= self.percentile <= 100
        require(is_share, "percentile", f"{self.percentile!r} is not between 0 and 100")

    def rungs(self, history: History) -> Rungs[float]:
        """Return the rungs, of which two are unlocked."""
        return _GrowingRungs(self, history)


class _GrowingRungs(Rungs[float]):
    """Rungs that are unlocked from the bottom, one by one."""

    def __init__(self, scheduler: PASHA, history: History) -> None:
        super().__init__(scheduler, history.loss, math.inf, Rung)
        self._results: list[dict[int, float]] = [{} for _ in self._levels]
        self._goals: dict[int, Resource | None] = {}
        self._crossings = Crossings(scheduler.percentile)
        self._unlock(min(1, self.top))

    def launched(self, fact: Launched) -> None:
        """Note where the trial is to pause."""
        super().launched(fact)
        self._goals[fact.trial] = fact.until

    def reported(self, fact: Reported) -> None:
        """Estimate the noise anew. What is reported at a rung is compared when the trial pauses."""
        super().reported(fact)
        level, loss, _ = self._latest[fact.trial]
        self._crossings.add(fact.trial, level, loss)
        goal = self._goals[fact.trial]
        if goal is None or level < goal:
            self._grow()

    def closed(self, fact: Closed) -> None:
        """Compare the top two rungs: one of them may have a new result."""
        super().closed(fact)
        if not fact.retry and fact.status not in ("failed", "lost"):
            self._grow()

    def add(
        self, trial: int, position: int, result: float, arrival: int, *, promotable: bool
    ) -> bool:
        """Record a result; those that rank last say nothing of the order."""
        if result < math.inf:
            self._results[position][trial] = result
        return super().add(trial, position, result, arrival, promotable=promotable)

    def _grow(self) -> None:
        if self.top < len(self._levels) - 1 and not self._is_settled():
            self._unlock(self.top + 1)

    def _unlock(self, top: int) -> None:
        self.top = top
        self._crossings.watch(self._levels[max(top - 1, 0)], self._levels[top])

    def _is_settled(self) -> bool:
        """Whether both of the top rungs put the trials in the same order, but for epsilon."""
        upper, lower = self._results[self.top], self._results[self.top - 1]
        shared = [trial for trial in upper if trial in lower]
        # Trials that are equal in one rung do not contradict the other.
        by_upper = sorted(shared, key=lambda trial: (upper[trial], lower[trial]))
        by_lower = sorted(shared, key=lower.__getitem__)
        return all(
            abs(lower[one] - lower[other]) <= self._crossings.epsilon
            for one, other in zip(by_upper, by_lower, strict=True)
        )
