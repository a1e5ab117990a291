"""Asynchronous successive halving (ASHA).

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar: A System for Massively
Parallel Hyperparameter Tuning, MLSys 2020. ``promotion`` is its Algorithm 2. ``stopping`` is the
variant that Ray Tune and Syne Tune run: a trial goes on without a pause and is judged as it
passes each rung.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.schedulers.rung import Rung
from tuneflow.schedulers.rungs import AsyncHalving, Rungs, Variant
from tuneflow.trial import Resource


@dataclass(frozen=True)
class ASHA(AsyncHalving):
    """Promote, or stop, trials one by one, without ever waiting for a rung to fill.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: r, the lowest rung (the grace period). Default 1.
        reduction_factor: eta; the best 1/eta of a rung goes on. Default 4, as in the paper.
        variant: "promotion" (the default) pauses a trial at each rung and resumes the best
            1/eta of it; "stopping" lets it run on and stops it unless it is among the best
            1/eta of the rung it has just reached.
        brackets: how many brackets there are; bracket s begins at the rung ``r * eta**s``. A
            new trial joins bracket s with probability in proportion to ``eta**-s``: the lower
            brackets need more trials to end with one. At most as many as rungs. Default 1.

    Rungs lie at ``r, r*eta, r*eta**2, …`` below R, and at R. A rung with fewer than eta results
    promotes nobody and stops nobody. The earlier of two equal results is the better one. A
    failed trial, NaN and infinity count as results that rank last. A report that jumps over a
    rung is judged once, at the highest rung it has reached.
    """

    type: ClassVar[str] = "asha"

    max_resource: Resource
    min_resource: Resource = 1
    reduction_factor: float = 4
    variant: Variant = "promotion"
    brackets: int = 1

    def rungs(self, history: History) -> Rungs[float]:
        """Return the empty rungs; a result is a loss."""
        return Rungs(self, history.loss, math.inf, Rung)
