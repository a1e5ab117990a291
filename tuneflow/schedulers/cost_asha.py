"""Cost-aware asynchronous successive halving.

Ivkin, Karnin, Perrone, Zappella: Cost-aware Adversarial Best Arm Identification, Workshop on
Neural Architecture Search at ICLR 2021, whose rule splits what was spent on a rung, and not the
number of its trials, by eta. Here it is asynchronous, as in Syne Tune, whose defaults these are.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, islice
from typing import ClassVar, Final, TypeAlias

from tuneflow.history import History
from tuneflow.schedulers.base import require
from tuneflow.schedulers.rungs import AsyncHalving, Rungs
from tuneflow.trial import Resource

_Result: TypeAlias = tuple[float, float]
"""Loss and cost."""

_Entry: TypeAlias = tuple[float, int, int, int]
"""Loss, arrival, trial, cost: the smaller is the better, an earlier arrival breaks a tie."""

_UNIT: Final = 2**1074
"""As many of the smallest double are 1: every double is a whole number of them."""


@dataclass(frozen=True)
class CostASHA(AsyncHalving):
    """Promote as ASHA does, but let the top of a rung be a share of its cost.

    Args:
        max_resource: R, the level at which a trial is complete.
        cost: the metric that says what a trial has cost since it began, in any unit, such as
            seconds or dollars. It is the total: what earlier segments have cost is in it.
        min_resource: r, the lowest rung. Default 1.
        reduction_factor: eta; the best trials of a rung that make up 1/eta of its cost go on.
            Default 3.
        brackets: how many brackets there are, as for `tuneflow.schedulers.asha.ASHA`. Default 1.

    Let C(k) be the cost of the k best of the N results of a rung. Promotable are the best K, with
    the largest K for which ``C(K) <= C(N) / eta``. So many cheap trials go on, or few dear ones;
    if all cost the same this is ASHA. Sums are exact. A report whose cost is missing, negative or
    not finite ranks last and counts as free. So does a failed trial, but for the cost that it
    reported before. A trial that never reports it has failed.
    """

    type: ClassVar[str] = "cost_asha"

    max_resource: Resource
    cost: str
    min_resource: Resource = 1
    reduction_factor: float = 3
    brackets: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.cost), "cost", "the name of the metric is empty")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The cost."""
        return (self.cost,)

    def rungs(self, history: History) -> Rungs[_Result]:
        """Return the empty rungs; a result is a loss and a cost."""

        def measure(metrics: Mapping[str, float]) -> _Result:
            cost = metrics.get(self.cost, math.nan)
            if 0 <= cost < math.inf:
                return history.loss(metrics), cost
            return math.inf, 0

        return CostRungs(self, measure, (math.inf, 0), CostRung)


class CostRungs(Rungs[_Result]):
    """Rungs in which a trial that failed has still cost something."""

    def failed(self, latest: _Result) -> _Result:
        """Return the worst loss, at the cost that is known."""
        return math.inf, latest[1]


class CostRung:
    """Results at one level, sorted, with the cost of all of them."""

    def __init__(self, reduction_factor: Fraction) -> None:
        self._factor = reduction_factor
        self._entries: list[_Entry] = []
        self._entry_of: dict[int, _Entry] = {}
        self._settled: set[int] = set()
        self._total = 0
        self._top_size: int | None = None

    @property
    def top_size(self) -> int:
        """How many of the best results make up 1/eta of the cost, at most."""
        if self._top_size is None:
            limit = self._total * self._factor.denominator
            sums = accumulate(cost for _, _, _, cost in self._entries)
            beyond = (k for k, spent in enumerate(sums) if spent * self._factor.numerator > limit)
            self._top_size = next(beyond, len(self._entries))
        return self._top_size

    def add(self, trial: int, result: _Result, arrival: int, *, promotable: bool = True) -> bool:
        """Record a result and return whether it is among the top ones now.

        A loss of infinity ranks last and is never promotable. A trial that failed here and was
        tried again counts once: its later result takes the place of its failure.
        """
        loss, cost = result
        self._drop(trial)
        entry = self._entry_of[trial] = (loss, arrival, trial, _exact(cost))
        bisect.insort(self._entries, entry)
        self._total += entry[3]
        self._top_size = None
        if promotable and loss < math.inf:
            self._settled.discard(trial)
        else:
            self._settled.add(trial)
        return bisect.bisect_left(self._entries, entry) < self.top_size

    def best_waiting(self) -> int | None:
        """Return the best trial of the top that may be promoted and has not been, or None."""
        top = (trial for _, _, trial, _ in islice(self._entries, self.top_size))
        return next((trial for trial in top if trial not in self._settled), None)

    @property
    def waiting(self) -> int:
        """How many of the top may be promoted and have not been."""
        top = islice(self._entries, self.top_size)
        return sum(trial not in self._settled for _, _, trial, _ in top)

    def settle(self, trial: int) -> None:
        """Take a trial out of the running for promotion: it was promoted, or it has ended."""
        self._settled.add(trial)

    def _drop(self, trial: int) -> None:
        entry = self._entry_of.pop(trial, None)
        if entry is not None:
            del self._entries[bisect.bisect_left(self._entries, entry)]
            self._total -= entry[3]


def _exact(cost: float) -> int:
    """Return a cost as a whole number of the smallest double, so that sums have no rounding."""
    numerator, denominator = cost.as_integer_ratio()
    return numerator * (_UNIT // denominator)
