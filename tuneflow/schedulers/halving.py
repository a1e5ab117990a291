"""Successive halving, synchronous.

Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization,
AISTATS 2016; as Algorithm 1 of the ASHA paper (Li et al., MLSys 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.schedulers.base import require_count
from tuneflow.schedulers.brackets import Ladder, SynchronousScheduler
from tuneflow.schedulers.levels import exact, ladder


@dataclass(frozen=True)
class SuccessiveHalving(SynchronousScheduler):
    """Give many trials little, and the best 1/eta of each rung eta times as much.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: r, the least that is given to a trial. Default 1.
        reduction_factor: eta. Default 3.
        n_trials: trials in the lowest rung of a bracket. Default ``eta**(rungs - 1)``, so that
            one of them reaches R. A study with more trials runs bracket after bracket.

    A rung is decided when all its trials are resolved. Failed, NaN and infinite results are
    never promoted; when fewer survive than the next rung has room for, the survivors go on, and
    when nobody survives the bracket ends. A bracket that the study's trials do not fill is cut
    to the size it has.
    """

    type: ClassVar[str] = "successive_halving"

    n_trials: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_trials is not None:
            require_count("n_trials", self.n_trials)

    def shapes(self) -> list[Ladder]:
        """Return the one ladder that every bracket has."""
        levels = self.levels
        n_trials = self.n_trials
        if n_trials is None:
            n_trials = math.ceil(exact(self.reduction_factor) ** (len(levels) - 1))
        return [ladder(n_trials, levels, self.reduction_factor)]
