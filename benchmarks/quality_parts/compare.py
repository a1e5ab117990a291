"""What the runs say: medians, and paired tests over seeds and problems."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.quality_parts.record import first_time, regret_at
from benchmarks.quality_parts.runs import Runs

LEVEL = 0.05
"""Chance of calling one of ours worse when none is."""

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Comparison:
    """One of ours next to a reference.

    Attributes:
        ours: the algorithm of tuneflow.
        reference: the algorithm of the other library.
        pairs: on how many pairs of a problem and a seed both ran.
        better: on how many ours ended with less regret.
        worse: on how many with more.
        factor: median of our regret as a multiple of the reference's.
        p_worse: chance of what was seen, or more, if ours were not worse.
        holm: the same, corrected for all comparisons.
    """

    ours: str
    reference: str
    pairs: int
    better: int
    worse: int
    factor: float
    p_worse: float
    holm: float = math.nan

    @property
    def is_worse(self) -> bool:
        """Whether ours is worse beyond the noise."""
        return self.holm < LEVEL


@dataclass(frozen=True)
class Measured:
    """Reads regrets from the runs.

    Args:
        runs: what is stored.
        seconds: how long a run of each problem lasts.
    """

    runs: Runs
    seconds: Mapping[str, float]

    def regrets(self, algorithm: str, problem: str, part: float = 1.0) -> dict[int, float]:
        """Return the regret of each seed after a part of the time."""
        time = self.seconds[problem] * part
        curves = self.runs.curves(algorithm, problem)
        return {seed: regret_at(curve, time) for seed, curve in sorted(curves.items())}

    def median(self, algorithm: str, problem: str, part: float = 1.0) -> float | None:
        """Return the median regret over the seeds; None without runs."""
        found = self.regrets(algorithm, problem, part)
        return statistics.median(found.values()) if found else None

    def pairs(self, ours: str, reference: str, problem: str, part: float = 1.0) -> Pairs:
        """Return both regrets of each seed that both have."""
        mine = self.regrets(ours, problem, part)
        theirs = self.regrets(reference, problem, part)
        both = sorted(mine.keys() & theirs.keys())
        found = [(mine[seed], theirs[seed]) for seed in both]
        return [pair for pair in found if math.isfinite(sum(pair))]

    def grain(self, problem: str) -> float:
        """Return a regret that is as good as none: a thousandth of random search's final one."""
        return max((self.median("tuneflow/random", problem) or 1.0) / 1000, 1e-9)

    def compared(self, ours: str, reference: str, part: float = 1.0) -> Comparison | None:
        """Compare over all problems; None when there are no pairs."""
        ratios: list[float] = []
        for problem in self.seconds:
            grain = self.grain(problem)
            pairs = self.pairs(ours, reference, problem, part)
            ratios += [math.log((a + grain) / (b + grain)) for a, b in pairs]
        if not ratios:
            return None
        return Comparison(
            ours,
            reference,
            pairs=len(ratios),
            better=sum(ratio < 0 for ratio in ratios),
            worse=sum(ratio > 0 for ratio in ratios),
            factor=math.exp(statistics.median(ratios)),
            p_worse=p_greater(ratios),
        )

    def p_better(self, ours: str, reference: str, problem: str) -> float | None:
        """Return the p value of ours ending with less regret on one problem."""
        grain = self.grain(problem)
        pairs = self.pairs(ours, reference, problem)
        return p_greater([math.log((b + grain) / (a + grain)) for a, b in pairs]) if pairs else None

    def times_to_final(self, ours: str, reference: str, problem: str) -> list[float]:
        """Return when ours first was as good as the reference at the end, in parts of the time.

        Paired by seed; infinity where it never was.
        """
        goals = self.regrets(reference, problem)
        curves = self.runs.curves(ours, problem)
        return [
            first_time(curves[seed], goals[seed]) / self.seconds[problem]
            for seed in sorted(goals.keys() & curves.keys())
        ]


def p_greater(differences: Sequence[float]) -> float:
    """Return the p value of Wilcoxon's signed-rank test, one-sided: are they above 0?

    Zeros are left out; with nothing left the p value is 1.
    """
    from scipy.stats import wilcoxon

    if not any(differences):
        return 1.0
    return float(wilcoxon(differences, alternative="greater", method="asymptotic").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number.

    Holm: A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of
    Statistics, 1979.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [1.0] * len(p_values)
    most = 0.0
    for rank, position in enumerate(order):
        most = max(most, min(1.0, p_values[position] * (len(p_values) - rank)))
        corrected[position] = most
    return corrected
