"""Runs algorithms of one library, in that library's own environment.

    python -m benchmarks.quality_parts.worker optuna [seconds]

It reads one task a line, ``{"problem": …, "algorithm": …, "seed": …}``, and answers each with one
line: the record of the run, or ``{"error": …}``. A run that takes longer is given up.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.quality_parts.cluster import Cluster, Peer
from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.record import Incumbents
from benchmarks.quality_parts.setting import Setting, problems

SYSTEMS = ("tuneflow", "searchers", "optuna", "hb", "dehb", "syne", "syne_old", "ray")

Run = Callable[[str, Problem, int, Setting], tuple[Incumbents, int]]


def runner(system: str) -> tuple[Run, list[str]]:
    """Return what runs a library's algorithms, and their names."""
    if system == "tuneflow":
        from benchmarks.quality_parts import ours

        return ours.run, list(ours.ALGORITHMS)
    if system == "searchers":
        from benchmarks.quality_parts import searchers

        return searchers.run, list(searchers.ALGORITHMS)
    module = importlib.import_module(f"benchmarks.quality_parts.peers.{system}_peer")
    algorithms: Mapping[str, Callable[[Problem, int, Setting], Peer]] = module.ALGORITHMS

    def run(name: str, problem: Problem, seed: int, setting: Setting) -> tuple[Incumbents, int]:
        incumbents = Incumbents(problem, setting.seconds(problem))
        cluster = Cluster(
            problem, seed, setting, algorithms[name](problem, seed, setting), incumbents
        )
        cluster.run()
        return incumbents, len(cluster.trials)

    return run, list(algorithms)


def answer(run: Run, known: Mapping[str, Problem], task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of one run."""
    began = time.process_time()
    try:
        found, trials = run(task["algorithm"], known[task["problem"]], task["seed"], Setting())
    except Exception:  # noqa: BLE001 - what a library raises is part of what is measured
        return {**task, "error": traceback.format_exc(limit=-4)}
    return {
        **task,
        "curve": found.curve,
        "trials": trials,
        "units": found.units,
        "seconds": round(time.process_time() - began, 2),
    }


def _give_up(*_: object) -> None:
    raise TimeoutError("the run took too long")


def main() -> None:
    """Answer tasks until there are no more; the first line says which algorithms there are."""
    system, limit = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    run, names = runner(system)
    print(json.dumps(names), file=answers, flush=True)
    known = problems()
    signal.signal(signal.SIGALRM, _give_up)
    for line in sys.stdin:
        signal.alarm(limit)
        record = answer(run, known, json.loads(line))
        signal.alarm(0)
        print(json.dumps(record), file=answers, flush=True)


if __name__ == "__main__":
    main()
