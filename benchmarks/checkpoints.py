"""Checkpoints against plain obstore: how fast they are stored and restored, and what is moved.

    python -m benchmarks.checkpoints [--ceph] [--repeats 5] [--folder FOLDER] [--write]

obstore takes turns with tuneflow in one run: put and get with its defaults, in parts what is large,
eight at a time what is small. A local folder, moto's S3 server, and Ceph's if it is installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import obstore
from obstore.store import LocalStore, from_url

from benchmarks import page
from benchmarks.checkpoint_traffic import MIB, SIZE, decided, moved
from tests import servers
from tuneflow.checkpoints import Checkpoints
from tuneflow.store import Store, read_chunks

if TYPE_CHECKING:
    from obstore.store import ObjectStore

HEADING: Final = "## Checkpoints"
THREADS: Final = 8
GOAL: Final = 0.8

Times = dict[str, list[float]]


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ceph", action="store_true", help="measure on Ceph as well")
    parser.add_argument("--folder", type=Path, help="where the local folder is made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        sources = {count: written(folder / f"{count}", count) for count in (1, SIZE)}
        rows = speed_rows(folder, sources, "a local folder", None, options.repeats)
        places = {"S3: moto": servers.moto}
        if options.ceph:
            places["S3: Ceph"] = servers.ceph
        for place, server in places.items():
            with server() as running, environment(running.env):
                rows += speed_rows(folder, sources, place, running.url, options.repeats)
        section = render(rows, moved(folder), decided(folder), options.repeats)
    print(section)
    if options.write:
        page.put(HEADING, section)


def written(folder: Path, count: int) -> Path:
    """Make a checkpoint of so many files, which no disk can compress."""
    folder.mkdir()
    for number in range(count):
        with (folder / f"{number:03}").open("wb") as file:
            for _ in range(SIZE // count):
                file.write(os.urandom(MIB))
    return folder


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have environment variables set for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def speed_rows(
    folder: Path, sources: Mapping[int, Path], place: str, url: str | None, repeats: int
) -> list[str]:
    """Return the rows of the table for one storage."""
    rows = []
    for count, source in sources.items():
        times: Times = {}
        for turn in range(repeats):
            measure(folder, source, url, times, ours_first=bool(turn % 2))
        what = "1 file" if count == 1 else f"{count} files"
        compared: list[tuple[str, str, str, float | None]] = [
            ("stored", "up", "obstore up", GOAL),
            ("restored", "down", "obstore down", GOAL),
        ]
        if url is None:
            compared += [
                ("stored, obstore and a sync", "up", "synced up", None),
                ("stored, a copy and a sync", "up", "copied", None),
            ]
        rows += [
            row((place, what, doing), times[ours], times[theirs], goal)
            for doing, ours, theirs, goal in compared
        ]
    return rows


def measure(folder: Path, source: Path, url: str | None, times: Times, *, ours_first: bool) -> None:
    """Have both store and restore a checkpoint once."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        here = Path(name)
        plain, ours = plain_store(here / "plain", url), Store(f"{url or here}/{uuid.uuid4().hex}")
        up: list[tuple[str, Callable[[], object]]] = [
            ("obstore up", lambda: put(plain, source)),
            ("up", lambda: Checkpoints(ours).save("a.json", source, resource=1)),
        ]
        down: list[tuple[str, Callable[[], object]]] = [
            ("obstore down", lambda: get(plain, source, here / "theirs")),
            ("down", lambda: Checkpoints(ours).restore("a.json", here / "ours")),
        ]
        synced: list[tuple[str, Callable[[], object]]] = [
            ("synced up", lambda: put_synced(here / "synced", source)),
            ("copied", lambda: copy(source, here / "copied")),
        ]
        for steps in (up, down, synced if url is None else []):
            for what, step in reversed(steps) if ours_first else steps:
                # Nobody pays for what another one has left to the disk.
                os.sync()
                began = time.perf_counter()
                step()
                times.setdefault(what, []).append(time.perf_counter() - began)
        if not same(source, here / "ours"):
            raise RuntimeError("what was restored is not what was stored")


def plain_store(folder: Path, url: str | None) -> ObjectStore:
    """Return an empty store of obstore's."""
    if url is not None:
        return from_url(f"{url}/{uuid.uuid4().hex}")
    folder.mkdir()
    return LocalStore(folder)


def put(store: ObjectStore, source: Path) -> None:
    """Store files with obstore."""
    at_once(source.iterdir(), lambda file: obstore.put(store, file.name, file))


def get(store: ObjectStore, source: Path, target: Path) -> None:
    """Fetch files with obstore."""

    def fetch(file: Path) -> None:
        with (target / file.name).open("wb") as written:
            for chunk in obstore.get(store, file.name):
                written.write(chunk)

    target.mkdir()
    at_once(source.iterdir(), fetch)


def put_synced(folder: Path, source: Path) -> None:
    """Store files with obstore, and force them to the disk."""
    put(plain_store(folder, None), source)
    at_once([*folder.iterdir(), folder], sync)


def copy(source: Path, target: Path) -> None:
    """Copy files with the system's own means, and force them to the disk."""

    def one(file: Path) -> None:
        shutil.copyfile(file, target / file.name)
        sync(target / file.name)

    target.mkdir()
    at_once(source.iterdir(), one)
    sync(target)


def sync(path: Path) -> None:
    """Force a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def at_once(files: Iterable[Path], work: Callable[[Path], object]) -> None:
    """Do something with files, several at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, files):
            pass


def same(source: Path, target: Path) -> bool:
    """Say whether two folders have the same files."""
    return all(
        one == other
        for file in source.iterdir()
        for one, other in zip(read_chunks(file), read_chunks(target / file.name), strict=True)
    )


def row(
    what: tuple[str, str, str],
    ours: list[float],
    theirs: list[float],
    goal: float | None = GOAL,
) -> str:
    """Return a row of the table of speeds."""
    ratio = statistics.median(theirs) / statistics.median(ours)
    verdict = f"at least {goal}x | {'✓' if ratio >= goal else '✗'}" if goal else " | "
    return f"| {' | '.join(what)} | {span(ours)} | {span(theirs)} | {ratio:.2f}x | {verdict} |"


def span(times: list[float]) -> str:
    """Return a median with its extremes."""
    return f"{statistics.median(times):.2f} [{min(times):.2f} to {max(times):.2f}]"


def render(speeds: list[str], sizes: list[str], clones: list[str], repeats: int) -> str:
    """Return the section of the page."""
    today = f"{datetime.now().astimezone():%Y-%m-%d}"
    load = os.getloadavg()[0]
    return f"""{HEADING}

Seconds to store and to restore a checkpoint of {SIZE} MiB, and of plain obstore for the same
files: `put` and `get` with its defaults, {THREADS} at a time where there are many. Medians
[least to most] of {repeats} runs by turns, {today}, {os.cpu_count()} cores, load average
{load:.0f}; a ratio above 1 means that tuneflow is faster. Written by
`python -m benchmarks.checkpoints --ceph --write`.

| storage | checkpoint | what | tuneflow, s | the other, s | ratio | goal | |
| --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(speeds)}

tuneflow hashes what it stores and verifies what it restores. In a folder it also forces everything
to the disk before the manifest is visible, which obstore never does: what obstore has stored may be
gone after a power cut. So there are two more rows, with peers that make the same promise: obstore
and then a sync of every file, and `shutil.copyfile` and a sync. Neither of them hashes.

| what | moved | requests for it | goal | |
| --- | --- | --- | --- | --- |
{chr(10).join(sizes + clones)}

*Requests* are those of the save, the manifest's among them. An exploit is one fact in the
journal, which refers to the donor's checkpoint: no blob and no manifest is written or copied for
it, whatever the size of the checkpoint. A promotion is such a fact, too. What is restored is read
when the trial goes on.
"""


if __name__ == "__main__":
    main()
