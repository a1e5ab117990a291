"""Hyperband, synchronous, with overlapping brackets.

Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband: A Novel Bandit-Based Approach to
Hyperparameter Optimization, JMLR 18 (2018), Algorithm 1 and Table 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from tuneflow.schedulers.base import require
from tuneflow.schedulers.brackets import Ladder, SynchronousScheduler
from tuneflow.schedulers.levels import exact, ladder


@dataclass(frozen=True)
class Hyperband(SynchronousScheduler):
    """Hedge over how early to stop: several successive halvings from bold to cautious.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: the least that is given to a trial. Default 1.
        reduction_factor: eta. Default 3, as in the paper.
        sizes: "paper" (the default) begins bracket s with ``ceil((s_max + 1) / (s + 1) *
            eta**s)`` trials; "hpbandster" with ``floor((s_max + 1) / (s + 1)) * eta**s``, as
            HpBandSter and DEHB do.

    A study that does not say how many trials it has runs each bracket once; one with more goes
    round again. How rungs are decided: see `tuneflow.schedulers.SuccessiveHalving`.
    """

    type: ClassVar[str] = "hyperband"

    sizes: Literal["paper", "hpbandster"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.sizes in ("paper", "hpbandster"),
            "sizes",
            f"{self.sizes!r} is neither 'paper' nor 'hpbandster'",
        )

    def brackets(self) -> list[Ladder]:
        """Return ``[[(n_trials, resource), …], …]``, the boldest bracket first."""
        levels = self.levels
        s_max = len(levels) - 1
        return [
            ladder(self._first_rung(s, s_max), levels[s_max - s :], self.reduction_factor)
            for s in range(s_max, -1, -1)
        ]

    def shapes(self) -> list[Ladder]:
        """Return the ladders in the order in which brackets are handed out."""
        return self.brackets()

    def _first_rung(self, s: int, s_max: int) -> int:
        ratio = Fraction(s_max + 1, s + 1)
        if self.sizes == "hpbandster":
            ratio = Fraction(math.floor(ratio))
        return math.ceil(ratio * exact(self.reduction_factor) ** s)
