"""Write the golden journals: what every scheduler decides today, fact by fact.

Run it from the repository after a change that is meant to change decisions:

    python -m tests.golden.make

and look at the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.machine import make_study
from tests.places import new_url, open_study, simulated
from tuneflow import rounds, stream
from tuneflow.budget import Budget
from tuneflow.events import Fact, encode
from tuneflow.schedulers import (
    ASHA,
    FIFO,
    PBT,
    Hyperband,
    MedianStopping,
    Scheduler,
    SuccessiveHalving,
)
from tuneflow.store import Store
from tuneflow.study import Study

FOLDER = Path(__file__).parent

SCHEDULERS: dict[str, tuple[Scheduler, int]] = {
    "fifo": (FIFO(max_resource=3), 8),
    "successive_halving": (SuccessiveHalving(max_resource=9), 20),
    "hyperband": (Hyperband(max_resource=9), 30),
    "hyperband_hpbandster": (Hyperband(max_resource=10, sizes="hpbandster"), 20),
    "asha": (ASHA(max_resource=9, reduction_factor=3), 30),
    "asha_brackets": (ASHA(max_resource=27, reduction_factor=3, brackets=3), 30),
    "asha_stopping": (ASHA(max_resource=9, reduction_factor=3, variant="stopping"), 20),
    "median": (MedianStopping(max_resource=6), 20),
    "pbt": (PBT(max_resource=8, interval=2), 10),
    "pbt_synchronous": (PBT(max_resource=8, interval=2, synchronous=True), 10),
}


def studies() -> Iterator[tuple[str, Study]]:
    """Yield each study with the name of its journal: every scheduler, streaming and in rounds."""
    budget = Budget(max_failures_per_trial=1)
    for name, (scheduler, trials) in SCHEDULERS.items():
        for way, size in (("stream", None), ("rounds", 7)):
            study = make_study(scheduler, trials=trials, round_size=size, budget=budget, seed=7)
            yield f"{name}-{way}", study


def play(study: Study) -> list[Fact]:
    """Return the facts of a study on a simulated cluster with stragglers and failures."""
    opened = open_study(study, Store(new_url()))
    drive = rounds.drive if study.in_rounds else stream.drive
    executor = simulated(
        workers=4, straggler_spread=0.5, failure_rate=0.04, preemption_rate=90.0, seed=1
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
