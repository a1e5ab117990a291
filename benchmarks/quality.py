"""Show how good the schedulers and searchers are, next to other libraries; write docs/quality.md.

    python -m benchmarks.quality [--peers FOLDER] [--seeds 20] [--only NAME,…] [--render]

``--peers`` is a folder with virtual environments (see benchmarks/README.md); a library that is
not there is left out, but Optuna, which runs in this environment. Runs are stored under
build/quality and are made once, so this can be interrupted and started again; ``--render`` only
writes the page from what is stored. ``--only`` takes names of systems (``ray``), algorithms
(``ray/asha``) or problems.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.quality_parts import page, tables
from benchmarks.quality_parts.runs import Runs, missing, started
from benchmarks.quality_parts.setting import FOLDER, problems
from benchmarks.quality_parts.worker import SYSTEMS

HERE = ("tuneflow", "searchers", "optuna")
"""What runs in this environment."""


def main() -> None:
    """Make the runs that are missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=os.environ.get("QUALITY_PEERS"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="", help="names, with commas")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long")
    parser.add_argument("--render", action="store_true", help="only write the page")
    options = parser.parse_args()
    runs = Runs()
    if not options.render:
        tables.make_all(FOLDER)
        only = frozenset(filter(None, options.only.split(",")))
        make(runs, pythons(options.peers), options.seeds, only, 60 * options.minutes)
    page.write(runs)


def pythons(peers: Path | None) -> dict[str, str]:
    """Return the interpreter of each system that is installed."""
    found = dict.fromkeys(HERE, sys.executable)
    for system in SYSTEMS:
        python = Path(peers or "") / system / "bin" / "python"
        if peers is not None and python.exists():
            found[system] = str(python)
    return found


def make(
    runs: Runs, interpreters: dict[str, str], seeds: int, only: frozenset[str], seconds: float
) -> None:
    """Make the runs that are missing, as many as the time allows."""
    libraries = started(interpreters)
    end = time.monotonic() + seconds
    for system, algorithm, problem, seed in missing(libraries, runs, problems(), seeds, only):
        if time.monotonic() > end:
            print("the time is over; start again to go on", file=sys.stderr)
            break
        record = libraries[system].run(algorithm, problem, seed)
        runs.add(record)
        said = record.get("error") or f"{record['trials']} trials in {record['seconds']} s"
        print(f"{seed} {problem} {system}/{algorithm}: {said}", file=sys.stderr, flush=True)
    for library in libraries.values():
        library.close()


if __name__ == "__main__":
    main()
