"""Measure tuneflow against Ray Tune in one run and write docs/benchmarks.md.

    python benchmarks/run.py --ray-python PATH [--runs 3] [--only trials,asha]

``--ray-python`` is the interpreter of an environment with ``ray[tune]``. The two systems take
turns, so that a machine whose speed drifts drifts under both; medians and their ratio are what
is written. Ray binds its servers to every address of the host, so it runs in a network
namespace that has a loopback only, where the system lets us (``unshare``, as root).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: the case in ours.py.
        what: what is measured, with its unit.
        figure: the key of the figure in its result.
        better: "more" or "less".
        peer: the case in peer_ray.py, or None.
        goal: the bound: on the ratio where there is a peer, else on the figure.
    """

    name: str
    what: str
    figure: str
    better: str
    peer: str | None
    goal: float

    def reached(self, ours: float, peer: float | None) -> bool:
        """Whether the goal is met."""
        if peer is None:
            return ours >= self.goal if self.better == "more" else ours <= self.goal
        return self.ratio(ours, peer) >= self.goal

    def ratio(self, ours: float, peer: float) -> float:
        """How many times better than the peer."""
        return ours / peer if self.better == "more" else peer / ours

    @property
    def bound(self) -> str:
        """The goal in words."""
        if self.peer is not None:
            return f"{self.goal:g}x"
        return f"{'at least' if self.better == 'more' else 'at most'} {self.goal:g}"


CASES = (
    Case("import", "`import tuneflow`, ms", "import_ms", "less", None, 100),
    Case(
        "trials",
        "trivial trials/s, 2 at a time; Ray with reused actors",
        "trials_per_s",
        "more",
        "trials",
        10,
    ),
    Case(
        "trials",
        "trivial trials/s, 2 at a time; Ray by default",
        "trials_per_s",
        "more",
        "trials_default",
        10,
    ),
    Case("asha", "ASHA, reports/s", "reports_per_s", "more", "asha", 30),
    Case("report", "one report, µs in the trial", "us_per_report", "less", "report", 1),
    Case("first", "launch to first report, s", "first_report_s", "less", "first", 4),
    Case("restore", "open 1,000 finished trials, s", "open_s", "less", None, 0.3),
    Case("restore", "the same", "open_s", "less", "restore", 1),
    Case("restore", "resume it: nothing to do, s", "resume_s", "less", "restore", 1),
    Case("machine", "pure machine, ASHA, reports/s", "reports_per_s", "more", None, 20_000),
    Case(
        "simulated",
        "time per trial, 100,000 against 1,000 simulated trials",
        "growth",
        "less",
        None,
        2,
    ),
    Case("memory", "driver's peak at 10,000 trials, MB", "driver_mb", "less", None, 200),
    Case("requests", "S3 requests per commit", "requests_per_commit", "less", None, 1),
)


def main() -> None:
    """Run the cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray-python", default=os.environ.get("RAY_PYTHON"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="names of cases, with commas")
    parser.add_argument("--output", type=Path, default=DOCS)
    options = parser.parse_args()
    chosen = [case for case in CASES if not options.only or case.name in options.only.split(",")]
    figures = measure(chosen, options.ray_python, options.runs)
    table = render(chosen, figures, options.runs)
    print(table)
    if not options.only:
        options.output.write_text(f"{table.rstrip()}\n{sections(options.output)}")


def sections(path: Path) -> str:
    """Return the sections that other benchmarks have written into the page."""
    page = path.read_text() if path.exists() else ""
    _, found, rest = page.partition("\n## ")
    return f"\n## {rest}" if found else ""


def measure(
    cases: list[Case], ray_python: str | None, runs: int
) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Return every run's figures, by system and case; the systems take turns."""
    figures: dict[tuple[str, str], list[dict[str, float]]] = {}
    plan = dict.fromkeys(("ours", case.name) for case in cases)
    if ray_python is not None:
        plan |= dict.fromkeys(("ray", case.peer) for case in cases if case.peer)
    for turn in range(runs):
        for system, name in plan:
            command = [sys.executable, "ours.py", name]
            if system == "ray":
                command = [*_loopback_only(), str(ray_python), "peer_ray.py", name]
            result = _run(command)
            figures.setdefault((system, name), []).append(result)
            print(f"{turn + 1}/{runs} {system} {name} {result}", file=sys.stderr, flush=True)
    return figures


def _run(command: list[str]) -> dict[str, float]:
    environment = {**os.environ, "BENCH_T0": repr(time.time())}
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, float] = json.loads(line[7:])
            return result
    sys.exit(f"{' '.join(command)} gave no result:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def _loopback_only() -> list[str]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return []
    return ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]


def render(
    cases: list[Case], figures: dict[tuple[str, str], list[dict[str, float]]], runs: int
) -> str:
    """Return the page."""
    rows = [_row(case, figures) for case in cases]
    header = ["| what | tuneflow | Ray Tune | ratio | goal | |", f"|{' --- |' * 6}"]
    return _PAGE.format(
        runs=runs,
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}",
        date=time.strftime("%Y-%m-%d"),
        table="\n".join([*header, *rows]),
    )


def _row(case: Case, figures: dict[tuple[str, str], list[dict[str, float]]]) -> str:
    ours = _spread(figures["ours", case.name], case.figure)
    peer_runs = figures.get(("ray", case.peer)) if case.peer else None
    peer = _spread(peer_runs, case.figure) if peer_runs else None
    ratio = f"{case.ratio(ours[0], peer[0]):.1f}x" if peer else ""
    unmeasured = case.peer is not None and peer is None
    met = "" if unmeasured else "✓" if case.reached(ours[0], peer[0] if peer else None) else "✗"
    cells = [case.what, _cell(ours), _cell(peer) if peer else "", ratio, case.bound, met]
    return f"| {' | '.join(cells)} |"


def _spread(runs: list[dict[str, Any]], figure: str) -> tuple[float, float, float]:
    values = [float(run[figure]) for run in runs]
    return statistics.median(values), min(values), max(values)


def _cell(spread: tuple[float, float, float]) -> str:
    median, least, most = map(_figure, spread)
    return f"{median} [{least} to {most}]"


def _figure(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


_PAGE = """\
# Benchmarks

Medians [least to most] of {runs} runs, {date}, {machine}. Written by `make bench`; the systems
take turns in one run, and a ratio above 1 means that tuneflow is better. Absolute figures belong
to the machine; only the ratios travel.

{table}

How it is measured:

- Both systems run two trials at a time on this machine: tuneflow on a local Dask cluster of two
  worker processes with storage in a local folder, every commit and outcome synced to disk; Ray
  Tune with `num_cpus=2`, no dashboard, no output, and reused actors where the row says so.
- Trials and reports per second are timed from the first decision to the last commit (Ray: inside
  `fit()`), without the start of either cluster. *Launch to first report* is the start: from the
  launch of the process to the first line of the first trial.
- *ASHA*: 200 trials that report up to 81 times without computing anything, in the stopping form
  that Ray has. Nobody sleeps, so how far a trial gets before it is stopped is a matter of timing
  and differs between the systems: tuneflow's trials run on while the driver decides, Ray's wait
  for it. Each system's reports are divided by its own time.
- *Driver's peak* is the resident memory of the driver's process, its workers aside.
- *S3 requests per commit* counts the requests for journal objects at moto's S3 server over HTTP,
  without the one list that opens the study. Every 256 commits one snapshot is written besides; it
  is a cache and no part of a commit.
"""

if __name__ == "__main__":
    main()
