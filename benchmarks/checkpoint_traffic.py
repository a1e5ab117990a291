"""What checkpoints move: the next one of a trial, and a copy of a member of a population."""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tuneflow import report, tune
from tuneflow.checkpoints import Checkpoints
from tuneflow.events import Launched
from tuneflow.schedulers import PBT
from tuneflow.space import Float
from tuneflow.staging import Staging
from tuneflow.store import Store

MIB: Final = 1 << 20
SIZE: Final = 200
"""Mebibytes of a checkpoint."""
MOST_MOVED: Final = 0.15


class CountingStore(Store):
    """A store that counts the requests for blobs and the bytes that are sent in them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.requests: Counter[str] = Counter()
        self.sent = 0

    def add(self, path: str, data: bytes) -> bool:
        """Store a blob if there is none."""
        self._count("PUT", len(data))
        return super().add(path, data)

    def create(self, path: str, data: bytes) -> None:
        """Store a manifest."""
        self._count("PUT", len(data))
        super().create(path, data)

    def put(self, path: str, data: bytes) -> None:
        """Store anything."""
        self._count("PUT", len(data))
        super().put(path, data)

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> None:
        """Store a large blob."""
        self._count("PUT", size)
        super().upload(path, chunks, size)

    def stat(self, path: str) -> Any:
        """Look at a blob."""
        self._count("HEAD", 0)
        return super().stat(path)

    def _count(self, word: str, size: int) -> None:
        self.requests[word] += 1
        self.sent += size


def moved(folder: Path) -> list[str]:
    """Return the rows about what the next checkpoint of a trial takes."""
    import torch
    from safetensors.torch import save_file

    rows = []
    torch.manual_seed(0)
    tensors = {f"layer{number:02}": torch.rand(1250, 1024) for number in range(40)}
    source = folder / "tensors"
    source.mkdir()
    store = CountingStore(f"memory://{uuid.uuid4().hex}")
    checkpoints = Checkpoints(store)
    for step in (1, 2):
        save_file(tensors, source / "model.safetensors", {"step": str(step)})
        before, store.sent = store.sent, 0
        store.requests.clear()
        checkpoints.save(f"{step}.json", source, resource=step)
        for number in range(0, 40, 10):
            tensors[f"layer{number:02}"] = torch.rand(1250, 1024)
    share = store.sent / before
    rows.append(
        f"| second checkpoint, 36 of 40 tensors unchanged | {store.sent / MIB:.1f} of "
        f"{before / MIB:.0f} MiB ({share:.1%}) | {sum(store.requests.values())} | at most "
        f"{MOST_MOVED:.0%} | {'✓' if share <= MOST_MOVED else '✗'} |"
    )
    checkpoints = Checkpoints(store)
    for step in (1, 2):
        store.sent = 0
        store.requests.clear()
        checkpoints.save(f"many-{step}.json", folder / f"{SIZE}", resource=step)
    rows.append(
        f"| second checkpoint, {SIZE} files unchanged | {store.sent / MIB:.1f} of {SIZE} MiB | "
        f"{sum(store.requests.values())} |  |  |"
    )
    return rows


def decided(folder: Path) -> list[str]:
    """Return the rows about copying a member of a population."""
    return [decided_row(folder / f"pbt-{size}", size) for size in (1, SIZE)]


def decided_row(folder: Path, size: int) -> str:
    """Run population based training, and count what an exploit moves."""
    written: list[str] = []

    def train(config: dict[str, Any]) -> None:
        def save(target: Path) -> None:
            written.append(str(target))
            with (target / "weights").open("wb") as file:
                file.write(os.urandom(MIB) * size)

        for _ in range(4):
            report(loss=config["x"], checkpoint=save)

    named: list[str] = []
    with recording(named):
        result = tune(
            train,
            space={"x": Float(0, 1)},
            metric="loss",
            mode="min",
            scheduler=PBT(max_resource=3, interval=1, quantile=0.5),
            searcher="random",
            trials=4,
            storage=folder,
            name="exploits",
            progress=False,
        )
    clones = [
        fact
        for fact in result.opened.history.facts
        if isinstance(fact, Launched) and fact.source is not None
    ]
    manifests = [key for key in result.opened.store.list("trials") if "/checkpoints/" in key]
    extra = len(named) + len(manifests) - 2 * len(written)
    shutil.rmtree(folder)
    return (
        f"| {len(clones)} exploits of a checkpoint of {size} MiB, beside {len(written)} saves | "
        f"{len(named)} blobs and {len(manifests)} manifests for the saves | {extra} | none | "
        f"{'✓' if clones and not extra else '✗'} |"
    )


@contextmanager
def recording(named: list[str]) -> Iterator[None]:
    """Take note of the blobs that are named in a folder."""
    name = Staging.name

    def noted(self: Staging, staged: Path, key: str) -> None:
        named.append(key)
        name(self, staged, key)

    Staging.name = noted  # type: ignore[method-assign]  # For a moment, and in this process only.
    try:
        yield
    finally:
        Staging.name = name  # type: ignore[method-assign]
