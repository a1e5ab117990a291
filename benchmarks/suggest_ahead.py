"""Measure what a searcher adds to the wall time of a study of short trials.

    python -m benchmarks.suggest_ahead [--runs 3] [--trials 40] [--write]

Trials that sleep for a second run on a local Dask cluster of two workers, after 1,000 results
that are known from the start. The searchers take turns; each is compared with random search in
the same turn. ``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import tuneflow
from benchmarks import page
from tests.clusters import cluster
from tuneflow.executors import DaskExecutor
from tuneflow.job import Job
from tuneflow.objective import Objective
from tuneflow.outcomes import stored_outcomes
from tuneflow.rng import generator
from tuneflow.searchers import TPE, Optuna, Random, Searcher
from tuneflow.searchers.base import sampled
from tuneflow.trial import Outcome, Segment

HEADING = "## A slow searcher"
WORKERS = 2
SECONDS = 1.0
KNOWN = 1_000
GOAL = 1.05
SPACE = tuneflow.space.Space({f"x{n}": tuneflow.space.uniform(0, 1) for n in range(6)})


@dataclass(frozen=True)
class Case:
    """One way to run the study.

    Attributes:
        name: of the row.
        searcher: the searcher.
        options: its arguments.
        is_ahead: whether proposals are made while trials run.
        share: of the trials that are run; those that take long need no more.
    """

    name: str
    searcher: type[Searcher]
    options: dict[str, Any]
    is_ahead: bool = True
    share: float = 1.0


BASELINE = Case("random", Random, {})
CASES = (
    BASELINE,
    Case("tpe", TPE, {}),
    Case("tpe, asked on the spot", TPE, {}, is_ahead=False),
    Case("optuna, gp", Optuna, {"sampler": "gp"}),
    Case("optuna, gp, asked on the spot", Optuna, {"sampler": "gp"}, is_ahead=False, share=0.1),
)


@dataclass(frozen=True)
class Figures:
    """What one study took.

    Attributes:
        first: seconds until the first trial was launched.
        seconds: from the start of a trial to the start of the next one on its worker, on average.
        late: the share of its configurations that were drawn at random.
    """

    first: float
    seconds: float
    late: float


class Clocked(DaskExecutor):
    """Notes when it is open, and when the first trial begins."""

    opened = began = 0.0

    def open(self, job: Job, objective: Objective) -> None:
        """Connect."""
        super().open(job, objective)
        self.opened = time.perf_counter()

    def submit(self, segment: Segment) -> None:
        """Have a segment run."""
        self.began = self.began or time.perf_counter()
        super().submit(segment)


class OnTheSpot(Clocked):
    """Has the searcher asked when a slot is free."""

    runs_meanwhile = False


def train(config: dict[str, Any]) -> float:
    """Take a second."""
    time.sleep(SECONDS)
    return value(config)


def value(config: dict[str, Any]) -> float:
    """Return the distance to a point of the space, squared."""
    return sum((x - 0.3) ** 2 for x in config.values())


def known() -> tuple[dict[str, Any], ...]:
    """Return the results that every searcher knows from the start."""
    drawn = [SPACE.build(sampled(generator(0, "known", number))) for number in range(KNOWN)]
    return tuple({"params": config, "value": value(config)} for config in drawn)


def main() -> None:
    """Run the studies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    figures: dict[str, list[Figures]] = {case.name: [] for case in CASES}
    with tempfile.TemporaryDirectory() as folder, cluster(WORKERS) as address:
        run(Case("first", TPE, {}, share=0.1), options.trials, address, folder)
        for _ in range(options.runs):
            for case in CASES:
                figures[case.name].append(run(case, options.trials, address, folder))
                print(case.name, figures[case.name][-1], flush=True)
    section = render(figures, options.runs, options.trials, os.getloadavg()[2])
    print(section)
    if options.write:
        page.put(HEADING, section)


def run(case: Case, trials: int, address: str, folder: str) -> Figures:
    """Run a study and return what it took."""
    executor = (Clocked if case.is_ahead else OnTheSpot)(address)
    count = round(trials * case.share)
    result = tuneflow.tune(
        train,
        space=SPACE,
        metric="loss",
        mode="min",
        searcher=case.searcher(known_results=known(), **case.options),
        trials=count,
        executor=executor,
        storage=f"{folder}/{time.time_ns()}",
        name="study",
        progress=False,
    )
    outcomes = stored_outcomes(result.opened.store, [(number, 0) for number in range(count)])
    return Figures(executor.began - executor.opened, pace(outcomes), result.history.late / count)


def pace(outcomes: Sequence[Outcome]) -> float:
    """Return how many seconds lie between the starts of trials on a worker, on average."""
    starts: dict[str, list[float]] = {}
    for outcome in outcomes:
        starts.setdefault(outcome.worker, []).append(outcome.started)
    return statistics.fmean(
        later - sooner for each in starts.values() for sooner, later in pairwise(sorted(each))
    )


def render(figures: dict[str, list[Figures]], runs: int, trials: int, load: float) -> str:
    """Return the section of the page."""
    rows = "\n".join(row(case, figures) for case in CASES)
    return f"""{HEADING}

What a searcher adds to the wall time of a study of trials of {SECONDS:g} s on a local Dask
cluster of {WORKERS} workers, with {KNOWN:,} known results in 6 parameters. *Seconds a trial* are
those from the start of a trial to that of the next one on its worker, on average over {trials}
trials; the first proposal, which all workers wait for, is not in it. Medians [least to most] of
{runs} runs, in which the searchers take turns. *late* is the share of configurations that were
drawn at random, because the searcher would have kept a worker waiting; *on the spot* means that
it is asked when a slot is free, and waited for. The load average was {load:.0f}, on
{os.cpu_count()} cores. Written by `python -m benchmarks.suggest_ahead --write`.

| searcher | first proposal, s | seconds a trial | against random | goal | | late |
| --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


def row(case: Case, figures: dict[str, list[Figures]]) -> str:
    """Return a row of the table."""
    found, baseline = figures[case.name], figures[BASELINE.name]
    ratios = [one.seconds / base.seconds for one, base in zip(found, baseline, strict=True)]
    first = spread([one.first for one in found], ".2f")
    seconds = spread([one.seconds for one in found], ".2f")
    late = f"{statistics.median(one.late for one in found):.0%}"
    goal, mark = "", ""
    if case.is_ahead and case is not BASELINE:
        goal = f"at most {GOAL}"
        mark = "✓" if statistics.median(ratios) <= GOAL else "✗"
    figures_of_row = (first, seconds, f"{spread(ratios, '.2f')}x", goal, mark, late)
    return f"| {' | '.join((case.name, *figures_of_row))} |"


def spread(values: Sequence[float], form: str) -> str:
    """Return the median, the least and the most."""
    return f"{statistics.median(values):{form}} [{min(values):{form}} to {max(values):{form}}]"


if __name__ == "__main__":
    main()
