"""Measure a study as a DAG against DAGs of the same shape that are written by hand.

    python -m benchmarks.airflow_overhead [--runs 3] [--settings default,prompt] [--write]

Starts a whole Airflow on PostgreSQL for each set of settings, and a Dask cluster of two workers.
The DAGs (airflow_dags/overhead.py) take turns on it, one run at a time; a first run of each is
not counted. ``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import page
from tests.airflow_system import PROMPT, Airflow, airflow
from tests.clusters import cluster

HERE = Path(__file__).parent
HEADING = "## In Airflow"
SETTINGS: dict[str, Mapping[str, str]] = {"default": {}, "prompt": PROMPT}
OURS = "tuneflow"
BY_HAND = {"plain": "by hand", "plain_on_dask": "by hand, on Dask"}
GOAL = 1.3


def main() -> None:
    """Run the DAGs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--settings", default="default,prompt", help="which, with commas")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    figures = {name: measure(SETTINGS[name], options.runs) for name in options.settings.split(",")}
    section = render(figures, options.runs)
    print(section)
    if options.write:
        page.put(HEADING, section)


def measure(settings: Mapping[str, str], runs: int) -> dict[str, list[float]]:
    """Return the seconds of every run, by DAG."""
    seconds: dict[str, list[float]] = {name: [] for name in (OURS, *BY_HAND)}
    with tempfile.TemporaryDirectory() as folder, cluster(2) as address:
        environment = {"BENCH_DASK": address, "BENCH_STORAGE": folder}
        with airflow(HERE / "airflow_dags", settings, **environment) as system:
            host, _, port = address.removeprefix("tcp://").rpartition(":")
            system.add_connection("dask_default", conn_type="dask", host=host, port=int(port))
            for name in seconds:
                system.await_dag(name)
            for turn in range(runs + 1):
                for name, found in seconds.items():
                    found.append(run(system, name))
                    print(f"{turn}/{runs} {name} {found[-1]:.1f} s", file=sys.stderr, flush=True)
    return {name: found[1:] for name, found in seconds.items()}


def run(system: Airflow, name: str) -> float:
    """Return how long a run took, from its start to its end as Airflow has them."""
    done = system.await_run(name, system.trigger(name), seconds=300)
    return (_time(done["end_date"]) - _time(done["start_date"])).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def render(figures: Mapping[str, Mapping[str, list[float]]], runs: int) -> str:
    """Return the section of the page."""
    rows = [_row(settings, found, name) for settings, found in figures.items() for name in BY_HAND]
    return _SECTION.format(heading=HEADING, runs=runs, goal=GOAL, rows="\n".join(rows))


def _row(settings: str, found: Mapping[str, list[float]], name: str) -> str:
    ratio = statistics.median(found[OURS]) / statistics.median(found[name])
    met = "✓" if ratio <= GOAL else "✗"
    cells: list[Any] = [settings, BY_HAND[name], _cell(found[OURS]), _cell(found[name])]
    return f"| {' | '.join([*cells, f'{ratio:.2f}x', f'at most {GOAL}x', met])} |"


def _cell(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} [{min(seconds):.1f} to {max(seconds):.1f}]"


_SECTION = """\
{heading}

Seconds for a study of three rungs (27, 9 and 3 trivial trials) as a DAG, and for a DAG of the
same shape that is written by hand: per rung a search task, mapped trial tasks and a schedule
task. Medians [least to most] of {runs} runs; the DAGs take turns on one Airflow with
LocalExecutor and PostgreSQL. Written by `python -m benchmarks.airflow_overhead --write`.

| settings | compared with | tuneflow, s | the other, s | ratio | goal | |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

*By hand* computes the value in the task itself; *by hand, on Dask* has the task submit it to the
cluster and wait. *default* are the settings that Airflow comes with; *prompt* are those of the
tests, an Airflow with four worker slots that soon notices what has happened.
"""

if __name__ == "__main__":
    main()
