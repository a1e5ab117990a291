"""Write the golden journals: what every scheduler decides today, fact by fact.

Run it from the repository after a change that is meant to change decisions:

    python -m tests.golden.make

and look at the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.machine import make_study
from tests.places import curve, new_url, open_study, simulated
from tuneflow import rounds, searchers, stream
from tuneflow.budget import Budget
from tuneflow.events import Fact, encode
from tuneflow.schedulers import (
    ASHA,
    BOHB,
    DEHB,
    FIFO,
    MOASHA,
    PASHA,
    PB2,
    PBT,
    CostASHA,
    Hyperband,
    MedianStopping,
    ResourceChanging,
    Scheduler,
    SuccessiveHalving,
)
from tuneflow.stoppers import ExperimentPlateau, MaxResource, TrialPlateau
from tuneflow.store import Store
from tuneflow.study import Study

FOLDER = Path(__file__).parent

SCHEDULERS: dict[str, tuple[Scheduler, int]] = {
    "fifo": (FIFO(max_resource=3), 8),
    "successive_halving": (SuccessiveHalving(max_resource=9), 20),
    "hyperband": (Hyperband(max_resource=9), 30),
    "hyperband_hpbandster": (Hyperband(max_resource=10, sizes="hpbandster"), 20),
    "bohb": (BOHB(max_resource=9), 20),
    "dehb": (DEHB(max_resource=9), 40),
    "asha": (ASHA(max_resource=9, reduction_factor=3), 30),
    "asha_brackets": (ASHA(max_resource=27, reduction_factor=3, brackets=3), 30),
    "asha_stopping": (ASHA(max_resource=9, reduction_factor=3, variant="stopping"), 20),
    "pasha": (PASHA(max_resource=27, reduction_factor=2), 30),
    "cost_asha": (CostASHA(max_resource=9, cost="cost"), 30),
    "mo_asha": (MOASHA(max_resource=9), 30),
    "mo_asha_stopping": (MOASHA(max_resource=9, variant="stopping"), 20),
    "fifo_stop": (FIFO(max_resource=12), 12),
    "hyperband_stop": (Hyperband(max_resource=9), 20),
    "median": (MedianStopping(max_resource=6), 20),
    "pbt": (PBT(max_resource=8, interval=2), 10),
    "pbt_synchronous": (PBT(max_resource=8, interval=2, synchronous=True), 10),
    "pb2": (PB2(max_resource=8, interval=2), 10),
    "resource_changing": (
        ResourceChanging(ASHA(max_resource=9, reduction_factor=3), total={"gpu": 8}),
        30,
    ),
    "resource_changing_interval": (
        ResourceChanging(FIFO(max_resource=6), total={"cpu": 8}, policy="top", interval=2),
        12,
    ),
}

SEARCHERS: dict[str, searchers.Searcher] = {"dehb": searchers.DEHB()}
"""The searchers of some of them; the others have random ones."""

COST: dict[str, Any] = {"other_metrics": {"cost": "min"}}
FLAT = (TrialPlateau(std=0.06, interval=2), ExperimentPlateau(std=0.02, top=12))

CHANGES: dict[str, dict[str, Any]] = {
    "mo_asha": COST,
    "mo_asha_stopping": COST,
    "fifo_stop": {"stop": FLAT},
    "hyperband_stop": {"stop": (*FLAT, MaxResource(max_resource=5))},
}
"""What else is special about some studies."""

UNEVEN = ("pasha", "cost_asha", "mo_asha")
"""Schedulers that have nothing to do where all trials behave alike."""


def uneven(config: dict[str, Any], resource: float) -> dict[str, float]:
    """Return a loss that wobbles, and what it cost: the better trials are the dearer ones."""
    wobble = (config["x"] * 7919 + resource * 0.37) % 1
    return {"loss": curve(config, resource) + wobble / 3, "cost": resource / (config["x"] + 0.1)}


def studies() -> Iterator[tuple[str, Study]]:
    """Yield each study with the name of its journal: every scheduler, streaming and in rounds."""
    budget = Budget(max_failures_per_trial=1)
    for name, (scheduler, trials) in SCHEDULERS.items():
        for way, size in (("stream", None), ("rounds", 7)):
            study = make_study(
                scheduler,
                searcher=SEARCHERS.get(name, searchers.Random()),
                trials=trials,
                round_size=size,
                budget=budget,
                seed=7,
                **CHANGES.get(name, {}),
            )
            yield f"{name}-{way}", study


def play(study: Study) -> list[Fact]:
    """Return the facts of a study on a simulated cluster with stragglers and failures."""
    opened = open_study(study, Store(new_url()))
    drive = rounds.drive if study.in_rounds else stream.drive
    executor = simulated(
        uneven if study.scheduler.type in UNEVEN else curve,
        workers=4,
        straggler_spread=0.5,
        failure_rate=0.04,
        preemption_rate=90.0,
        seed=1,
    )
    drive(opened, executor)
    return opened.history.facts


def main() -> None:
    """Write all journals anew."""
    for name, study in studies():
        lines = [f"{encode(fact)}\n" for fact in play(study)]
        (FOLDER / f"{name}.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
