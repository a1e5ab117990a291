"""The runs that are stored, and the processes that make those that are missing."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.quality_parts.setting import FOLDER, plan_of

ROOT = Path(__file__).parents[2]
LIMIT = 300
"""Seconds that one run may take."""

Key: TypeAlias = tuple[str, str, int]
"""Algorithm, as ``system/name``; problem; seed."""


@dataclass
class Runs:
    """Records of runs, in one file for each algorithm; delete the file to run it again."""

    folder: Path = FOLDER / "runs"
    records: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                record = json.loads(line)
                self.records[record["system"], record["problem"], record["seed"]] = record

    def add(self, record: dict[str, Any]) -> None:
        """Store a record."""
        self.records[record["system"], record["problem"], record["seed"]] = record
        path = self.folder / f"{record['system'].replace('/', '.')}.jsonl"
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def curves(self, algorithm: str, problem: str) -> dict[int, list[tuple[float, float]]]:
        """Return the curve of each seed for which there is one."""
        return {
            seed: record["curve"]
            for (name, where, seed), record in self.records.items()
            if name == algorithm and where == problem and record.get("curve")
        }


class Library:
    """A process that runs the algorithms of one library."""

    def __init__(self, system: str, python: str) -> None:
        self._system = system
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [python, "-m", "benchmarks.quality_parts.worker", system, str(LIMIT)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = self._process.stdout.readline()  # type: ignore[union-attr]
        self.algorithms: list[str] = json.loads(first) if first else []

    def run(self, algorithm: str, problem: str, seed: int) -> dict[str, Any]:
        """Return the record of one run."""
        task = {"algorithm": algorithm, "problem": problem, "seed": seed}
        print(json.dumps(task), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise RuntimeError(f"the process of {self._system} died at {task}")
        record: dict[str, Any] = json.loads(line)
        return {**record, "system": f"{self._system}/{algorithm}"}

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def missing(
    libraries: Mapping[str, Library],
    runs: Runs,
    problems: Iterable[str],
    seeds: int,
    only: frozenset[str],
) -> Iterator[tuple[str, str, str, int]]:
    """Yield system, algorithm, problem and seed of each run that is to be made.

    They come problem by problem and seed by seed; what is slow comes last.
    """
    algorithms = [
        (system, algorithm, f"{system}/{algorithm}")
        for system, library in libraries.items()
        for algorithm in library.algorithms
    ]
    places = list(itertools.product(list(problems), range(seeds), algorithms))
    places.sort(key=lambda place: plan_of(place[2][2]) is not None)
    for problem, seed, (system, algorithm, key) in places:
        is_wanted = not only or only & {key, system, problem}
        plan = plan_of(key)
        is_planned = plan is None or (problem in plan.problems and seed < plan.seeds)
        if is_wanted and is_planned and (key, problem, seed) not in runs.records:
            yield system, algorithm, problem, seed


def started(pythons: Mapping[str, str]) -> dict[str, Library]:
    """Return the libraries that can be run."""
    found = {}
    for system, python in pythons.items():
        library = Library(system, python)
        if library.algorithms:
            found[system] = library
        else:
            print(f"{system} cannot be run and is left out", file=sys.stderr)
    return found
