"""How long training waits for its checkpoints: stored in the background, and stored first.

    python -m benchmarks.background_saving [--write]

An objective reports a checkpoint of one large file several times, and measures what each `report`
takes, less the time in which its own function writes the file. Between two reports it waits for
longer than a checkpoint takes to be stored, as training on a GPU would.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import tuneflow
from benchmarks import page
from benchmarks.throttled import throttled
from tests.servers import moto
from tuneflow.job import Job
from tuneflow.objective import PythonObjective
from tuneflow.objective.control import Control
from tuneflow.store import Store
from tuneflow.trial import Segment
from tuneflow.worker import run_segment

HEADING: Final = "## Saving in the background"
GOAL: Final = 0.05
"""What training may wait, as a share of what it waits for a checkpoint that is stored first."""

RATE: Final = 100.0
"""Megabytes a second of the slow line to the S3 server: a network of one gigabit, nearly."""

KINDS: Final = ("callback", "folder")
ISOLATIONS: Final = ("thread", "process")


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        megabytes: the size of a checkpoint.
        checkpoints: how many a run saves.
        runs: how often each case is run.
    """

    megabytes: int
    checkpoints: int
    runs: int


@dataclass
class Waits:
    """Seconds that training waited for each of its checkpoints."""

    blocking: list[float] = field(default_factory=list)
    background: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """What is left of the waiting."""
        return statistics.median(self.background) / statistics.median(self.blocking)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    setting = Setting(options.megabytes, options.checkpoints, options.runs)
    section = render(measure_all(setting), setting)
    print(section)
    if options.write:
        page.put(HEADING, section)


def measure_all(setting: Setting) -> dict[tuple[str, str, str], Waits]:
    """Return the waits by storage, kind and isolation."""
    found = {}
    with storages() as places:
        for storage, place in places.items():
            for kind in KINDS:
                for isolation in ISOLATIONS:
                    waits = measure(place, kind, isolation, setting)
                    found[storage, kind, isolation] = waits
                    note = f"{storage}, {kind}, {isolation}: {waits.ratio:.1%}"
                    print(note, file=sys.stderr, flush=True)
    return found


@dataclass(frozen=True)
class Place:
    """A storage: where a study may be, and the environment with which it is reached."""

    url: str
    env: Mapping[str, str]


@contextmanager
def storages() -> Iterator[dict[str, Place]]:
    """The storages that are compared."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="background-saving-"))
        server = stack.enter_context(moto())
        line = stack.enter_context(throttled(server.endpoint, RATE))
        slow = {**server.env, "AWS_ENDPOINT_URL": line}
        yield {
            "local files": Place(Path(folder).as_uri(), {}),
            "S3 server on this machine": Place(server.url, server.env),
            f"the same at {RATE:g} MB/s": Place(server.url, slow),
        }


def measure(place: Place, kind: str, isolation: str, setting: Setting) -> Waits:
    """Run the objective both ways, by turns, and return how long it waited."""
    os.environ.update(place.env)
    waits = Waits()
    pause = 0.0
    for number in range(setting.runs):
        url = f"{place.url}/{kind}-{isolation}-{number}"
        first = run(f"{url}-blocking", kind, isolation, setting, background=False, pause=0.0)
        pause = 1.5 * max(first) + 0.2
        then = run(f"{url}-background", kind, isolation, setting, background=True, pause=pause)
        waits.blocking += first
        waits.background += then
    return waits


def run(
    url: str, kind: str, isolation: str, setting: Setting, *, background: bool, pause: float
) -> list[float]:
    """Run one segment on a store of its own, which is emptied; return its waits."""
    store = Store(url)
    mode: Literal["thread", "process"] = "process" if isolation == "process" else "thread"
    job = Job(url, "loss", isolation=mode, background=background, warm=0.0)
    with tempfile.TemporaryDirectory(prefix="background-saving-") as folder:
        objective = PythonObjective(training(Path(folder), kind, setting, pause))
        segment = Segment(0, 0, {})
        outcome = run_segment(
            job, objective, segment, emit=lambda report: None, control=Control(), store=store
        )
        if outcome is None or outcome.status != "completed":
            raise RuntimeError(f"the objective did not complete: {outcome}")
        waits: list[float] = json.loads((Path(folder) / "waits.json").read_text())
    store.delete(store.list())
    if url.startswith("file:"):
        shutil.rmtree(url.removeprefix("file://"), ignore_errors=True)
    return waits


def training(
    folder: Path, kind: str, setting: Setting, pause: float
) -> Callable[[dict[str, Any]], None]:
    """Return an objective that writes how long it waited to a file of this folder."""
    size = setting.megabytes * 1_000_000

    def train(config: dict[str, Any]) -> None:
        content = bytearray(os.urandom(1 << 20)) * (size // (1 << 20) + 1)
        own = folder / "own"
        own.mkdir()
        waits, writing = [], [0.0]

        def write(target: Path) -> None:
            began = time.perf_counter()
            with (target / "weights.bin").open("wb") as file:
                file.write(memoryview(content)[:size])
            writing.append(time.perf_counter() - began)

        for step in range(setting.checkpoints):
            # All of it is new, so that nothing is stored already.
            content[:8] = os.urandom(8)
            if kind == "folder":
                write(own)
            writing[:] = [0.0]
            began = time.perf_counter()
            tuneflow.report(loss=step, checkpoint=own if kind == "folder" else write)
            waits.append(time.perf_counter() - began - writing[-1])
            time.sleep(pause)
        (folder / "waits.json").write_text(json.dumps(waits))

    return train


def render(found: Mapping[tuple[str, str, str], Waits], setting: Setting) -> str:
    """Return the section of the page."""
    rows = "\n".join(row(*case, waits) for case, waits in found.items())
    return f"""{HEADING}

Milliseconds that training waits in `report` for a checkpoint of one file of {setting.megabytes} MB:
while it is stored first, and while it is stored in the background. The time in which a callback
writes the file is the objective's own and not counted. *Folder* is a path of the objective's own,
which is copied before it goes on. Medians [least to most] of
{setting.runs * setting.checkpoints} checkpoints in {setting.runs} runs; the two take turns.
The load average was {os.getloadavg()[0]:.0f}, on {os.cpu_count()} cores. Written by
`python -m benchmarks.background_saving --write`.

| storage | checkpoint | isolation | stored first, ms | in the background, ms | share | goal | |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

The callback's file is handed over as it is, so nothing but the hand-over is waited for. Where a
file system can share blocks (XFS, Btrfs) the copy of a folder costs next to nothing too; here it is
a copy of all bytes. Between two checkpoints there is time for one to be stored; a trial that is two
checkpoints ahead waits for the storage in any case.
"""


def row(storage: str, kind: str, isolation: str, waits: Waits) -> str:
    """Return a row of the table."""
    goal, verdict = "", ""
    if kind == "callback":
        goal, verdict = f"at most {GOAL:.0%}", "✓" if waits.ratio <= GOAL else "✗"
    return (
        f"| {storage} | {kind} | {isolation} | {spread(waits.blocking)} | "
        f"{spread(waits.background)} | {waits.ratio:.1%} | {goal} | {verdict} |"
    )


def spread(seconds: list[float]) -> str:
    """Return the median and the range, in milliseconds."""
    middle, least, most = (
        f"{1000 * value:,.{0 if value > 0.01 else 1}f}"
        for value in (statistics.median(seconds), min(seconds), max(seconds))
    )
    return f"{middle} [{least} to {most}]"


if __name__ == "__main__":
    main()
