"""BOHB's scheduler: Hyperband with the bracket sizes of its authors.

Falkner, Klein, Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML
2018; the sizes are those of HpBandSter, the authors' own package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.schedulers.brackets import Ladder, SynchronousScheduler
from tuneflow.schedulers.hyperband import Hyperband


@dataclass(frozen=True)
class BOHB(SynchronousScheduler):
    """Hyperband as BOHB runs it; its other half is the searcher ``bohb``.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: the least that is given to a trial. Default 1.
        reduction_factor: eta. Default 3, as in the paper.

    Bracket s begins with ``floor((s_max + 1) / (s + 1)) * eta**s`` trials. It is the same as
    ``Hyperband(sizes="hpbandster")``; any searcher goes with it.
    """

    type: ClassVar[str] = "bohb"

    def brackets(self) -> list[Ladder]:
        """Return ``[[(n_trials, resource), …], …]``, the boldest bracket first."""
        hyperband = Hyperband(
            self.max_resource, self.min_resource, self.reduction_factor, sizes="hpbandster"
        )
        return hyperband.brackets()

    def shapes(self) -> list[Ladder]:
        """Return the ladders in the order in which brackets are handed out."""
        return self.brackets()
