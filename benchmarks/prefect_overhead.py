"""Measure a study as a Prefect flow against a flow of the same shape that is written by hand.

    python -m benchmarks.prefect_overhead [--runs 3] [--cases threads-39,dask-351] [--write]

Starts a Prefect server, and a Dask cluster of two workers. The flows take turns on them, one run at
a time; a first run of each is not counted. ``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

from benchmarks import page
from tests.clusters import cluster
from tests.prefect_server import server, using
from tuneflow.prefect import tune_flow
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Float

HEADING = "## In Prefect"
AT_ONCE = 2
CASES = {
    "threads-39": ("threads", (27, 9, 3)),
    "threads-351": ("threads", (243, 81, 27)),
    "dask-39": ("dask", (27, 9, 3)),
    "dask-351": ("dask", (243, 81, 27)),
}
"""Prefect's task runner, and how many trials each rung has."""

DEFAULT = "threads-39,threads-351,dask-39"
"""Without the one that takes ten minutes."""

OURS, THEIRS = "tuneflow", "by hand"
GOAL = 1.3


def main() -> None:
    """Run the flows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cases", default=DEFAULT, help="which, with commas")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    figures = measure(options.cases.split(","), options.runs)
    section = render(figures, options.runs)
    print(section)
    if options.write:
        page.put(HEADING, section)


def measure(cases: list[str], runs: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of every run, by case and flow."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder, cluster(AT_ONCE) as address:
        place = Path(folder)
        with server(place) as url, using(url):
            return {case: compare(case, address, place, runs) for case in cases}


def compare(case: str, address: str, folder: Path, runs: int) -> dict[str, list[float]]:
    """Let two flows take turns, and return the seconds of each run."""
    kind, rungs = CASES[case]
    study = ours(rungs, runner(kind, address), folder / case)
    plain = by_hand.with_options(task_runner=runner(kind, address))
    flows: dict[str, Callable[[], Any]] = {OURS: study, THEIRS: lambda: plain(rungs)}
    seconds: dict[str, list[float]] = {name: [] for name in flows}
    for turn in range(runs + 1):
        for name, found in seconds.items():
            begun = time.perf_counter()
            flows[name]()
            found.append(time.perf_counter() - begun)
            print(f"{turn}/{runs} {case} {name} {found[-1]:.2f} s", file=sys.stderr, flush=True)
    return {name: found[1:] for name, found in seconds.items()}


def runner(kind: str, address: str) -> TaskRunner[Any]:
    """Return a task runner that runs two trials at a time."""
    if kind == "dask":
        return DaskTaskRunner(address=address)
    return ThreadPoolTaskRunner(max_workers=AT_ONCE)


def ours(rungs: Sequence[int], task_runner: TaskRunner[Any], storage: Path) -> Any:
    """Return the flow of a study."""

    def losses(config: dict[str, Any]) -> Iterator[float]:
        while True:
            yield (config["x"] - 2) ** 2

    return tune_flow(
        losses,
        space={"x": Float(-10, 10)},
        metric="loss",
        mode="min",
        searcher="random",
        scheduler=SuccessiveHalving(max_resource=9, reduction_factor=3, n_trials=rungs[0]),
        trials=rungs[0],
        storage=storage,
        existing="new",
        task_runner=task_runner,
    )


@task
def propose(count: int) -> list[dict[str, Any]]:
    """Draw the configurations of the first rung."""
    return [{"trial": number, "x": random.uniform(-10, 10)} for number in range(count)]


@task
def begin(promoted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hand a rung's configurations to its trials."""
    return promoted


@task
def trial(config: dict[str, Any]) -> dict[str, Any]:
    """Compute a value at once."""
    return {**config, "loss": (config["x"] - 2) ** 2}


@task
def promote(results: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Return the best configurations of a rung."""
    return sorted(results, key=lambda result: result["loss"])[:count]


@flow
def by_hand(rungs: tuple[int, ...]) -> dict[str, Any]:
    """Search, trials and schedule of each rung, as one writes it without tuneflow."""
    current: list[dict[str, Any]] = []
    for count in (*rungs[1:], 1):
        configs = begin(current) if current else propose(rungs[0])
        current = promote(trial.map(configs).result(), count)
    return current[0]


def render(figures: Mapping[str, Mapping[str, list[float]]], runs: int) -> str:
    """Return the section of the page."""
    rows = [_row(case, found) for case, found in figures.items()]
    return _SECTION.format(heading=HEADING, runs=runs, goal=GOAL, rows="\n".join(rows))


def _row(case: str, found: Mapping[str, list[float]]) -> str:
    kind, rungs = CASES[case]
    ratio = statistics.median(found[OURS]) / statistics.median(found[THEIRS])
    met = "✓" if ratio <= GOAL else "✗"
    cells = [kind, f"{sum(rungs)}", *(_cell(found[name], sum(rungs)) for name in (OURS, THEIRS))]
    return f"| {' | '.join([*cells, f'{ratio:.2f}x', f'at most {GOAL}x', met])} |"


def _cell(seconds: list[float], trials: int) -> str:
    each = [1000 * one / trials for one in seconds]
    return f"{statistics.median(each):.0f} [{min(each):.0f} to {max(each):.0f}]"


_SECTION = """\
{heading}

Milliseconds per trial of a study of three rungs (27, 9 and 3 trivial trials, or 243, 81 and 27) as
a flow, and of a flow of the same shape that is written by hand: per rung a search task, mapped
trial tasks and a schedule task. Medians [least to most] of {runs} runs; the flows take turns on one
Prefect server. Written by `python -m benchmarks.prefect_overhead --write`.

| runner | trials | tuneflow, ms | by hand, ms | ratio | goal | |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

*threads* is Prefect's own runner with two threads, *dask* is `DaskTaskRunner` on a cluster of two
workers. The time of a run is in its trials' time, with all that tuneflow does beside the tasks: the
journal and the outcomes are synced to disk, and the artifacts with the progress, the trials, the
best configuration and the report are kept. The report alone takes about half a second.
"""

if __name__ == "__main__":
    main()
