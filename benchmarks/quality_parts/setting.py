"""The simulated cluster, and the problems by name: what every run shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality_parts.problems import (
    Bowl6,
    Branin,
    Forrester,
    MFHartmann3,
    MFHartmann6,
    Problem,
)
from benchmarks.quality_parts.tables import MLP, SGD, Boosting

FOLDER = Path(__file__).parents[2] / "build" / "quality"
"""Where tables and runs are kept; git ignores it."""


@dataclass(frozen=True)
class Setting:
    """What a run is given, the same for every algorithm.

    Attributes:
        workers: how many trials run at once.
        turns: how long a run lasts, as a multiple of what one full trial takes.
        straggler_spread: standard deviation of the logarithm of a segment's slowness.
        failures: chance that a trial fails on its way to the full resource.
        preemptions: how often a worker is lost while a full trial would run.
        max_losses: how often a trial whose worker was lost is tried again, without a new level in
            between.
    """

    workers: int = 8
    turns: float = 12.0
    straggler_spread: float = 0.5
    failures: float = 0.08
    preemptions: float = 0.1
    max_losses: int = 3

    def seconds(self, problem: Problem) -> float:
        """Return how long a run lasts."""
        return self.turns * problem.resource

    def failure_rate(self, problem: Problem) -> float:
        """Return the chance that one unit fails."""
        return self.failures / problem.resource

    def preemption_rate(self, problem: Problem) -> float:
        """Return how many workers in a worker's hour are lost."""
        return 3600 * self.preemptions / problem.resource


def problems(folder: Path = FOLDER) -> dict[str, Problem]:
    """Return every problem by its name, what tells most first."""
    made: list[Problem] = [
        Bowl6(),
        MFHartmann6(),
        MLP(folder),
        Boosting(folder),
        Branin(),
        SGD(folder),
        MFHartmann3(),
        Forrester(),
    ]
    return {problem.name: problem for problem in made}


@dataclass(frozen=True)
class Plan:
    """Where something runs that takes many seconds for a run.

    Attributes:
        problems: on which problems.
        seeds: with at most how many seeds.
    """

    problems: tuple[str, ...] = ("bowl6", "mfhartmann6", "mlp")
    seeds: int = 20


PLANS: dict[str, Plan] = {
    "hb/bohb": Plan(),
    "syne/bohb": Plan(),
    "ray/median (best)": Plan(),
    "tuneflow/pb2": Plan(seeds=5),
    "ray/pb2": Plan(seeds=5),
    "syne_old/pasha": Plan(("mfhartmann6", "mlp")),
    "searchers": Plan(seeds=5),
    "searchers/ax": Plan(("bowl6",), seeds=5),
}
"""The plans of systems and algorithms; all others run everywhere."""


def plan_of(algorithm: str) -> Plan | None:
    """Return the plan of an algorithm, or of its system; None runs everywhere."""
    return PLANS.get(algorithm) or PLANS.get(algorithm.partition("/")[0])
