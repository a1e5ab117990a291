"""Fetching a checkpoint's files: many streams at once, and everything is verified."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from tuneflow.checkpoint_parts import Span
from tuneflow.errors import CheckpointCorruptError, StorageError
from tuneflow.in_flight import AT_ONCE, COPIES_AT_ONCE
from tuneflow.manifest import FileEntry, Manifest, Part
from tuneflow.patience import in_parallel
from tuneflow.store import NotFound, Store
from tuneflow.store_urls import local_root

if TYPE_CHECKING:
    from typing_extensions import Buffer

# One stream for so many bytes. A storage gives each stream some 50 to 100 MB/s, however many there
# are, and takes a moment for each.
_RANGE: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class _Range:
    """Some bytes of a part of a file.

    Attributes:
        entry: the file.
        part: the part.
        start: the first byte in the part.
        offset: the first byte in the file.
        size: bytes.
    """

    entry: FileEntry
    part: Part
    start: int
    offset: int
    size: int

    @property
    def is_whole(self) -> bool:
        return self.size == self.part.size


class _Gate:
    """Lets threads through until it is closed.

    Nobody waits for the threads of a restore that has failed. One that comes late must not write
    into the files of the next one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._is_closed = False

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be inside while the block runs. Raises InterruptedError if it is closed."""
        with self._changed:
            if self._is_closed:
                raise InterruptedError("nobody waits for this restore")
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more; return when nobody is inside."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._inside)


class Restoring:
    """One restore.

    Args:
        store: the study's store.
        ref: the key of the manifest, for messages.
        target: an empty folder.
    """

    def __init__(self, store: Store, ref: str, target: Path) -> None:
        self._store = store
        self._ref = ref
        self._target = target
        self._gate = _Gate()

    def run(self, manifest: Manifest) -> None:
        """Fetch all files. Raises `CheckpointCorruptError` if one is not what was stored."""
        threads = AT_ONCE if local_root(self._store.url) is None else COPIES_AT_ONCE
        large = [part for part in _ranges(manifest) if part.size > _RANGE]
        # Whatever a manifest says: no more streams are made than there are bytes for.
        in_parallel(self._check_size, large, threads)
        for entry in manifest.files:
            file = self._target / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        try:
            in_parallel(self._fetch, _ranges(manifest, _RANGE), threads)
        except BaseException:
            self._gate.close()
            raise
        in_parallel(self._verify, large, COPIES_AT_ONCE)

    def _fetch(self, piece: _Range) -> None:
        """Write some bytes to their place, and verify them if they are all of their part."""
        hasher = blake3()
        size = 0
        try:
            with _opened(self._target / piece.entry.path) as file:
                for chunk in self._store.stream(piece.part.key, piece.start, piece.size):
                    with self._gate.passing():
                        _write(file, piece.offset + size, chunk)
                    size += len(memoryview(chunk))
                    if piece.is_whole:
                        hasher.update(chunk)
        except (NotFound, StorageError):
            # Some storages answer with an error when an object ends before the range begins.
            self._check_size(piece)
            raise
        if size != piece.size:
            self._check_size(piece)
        if piece.is_whole:
            self._check_hash(piece, hasher)

    def _verify(self, piece: _Range) -> None:
        """Verify a part that was fetched in several ranges."""
        hasher = blake3()
        for chunk in Span(self._target / piece.entry.path, piece.offset, piece.size).read():
            hasher.update(chunk)
        self._check_hash(piece, hasher)

    def _check_size(self, piece: _Range) -> None:
        check_size(self._ref, piece.entry, piece.part, self._store.size(piece.part.key))

    def _check_hash(self, piece: _Range, hasher: blake3) -> None:
        if hasher.hexdigest() != piece.part.hash:
            raise CheckpointCorruptError(
                f"checkpoint {self._ref}: {_name(piece.entry)} has the hash {hasher.hexdigest()} "
                f"instead of {piece.part.hash}"
            )


def check_size(ref: str, entry: FileEntry, part: Part, size: int | None) -> None:
    """Raise `CheckpointCorruptError` if a part's blob is missing or has another size."""
    if size is None:
        raise CheckpointCorruptError(f"checkpoint {ref}: {_name(entry)} is missing")
    if size != part.size:
        raise CheckpointCorruptError(
            f"checkpoint {ref}: {_name(entry)} has {size} bytes instead of {part.size}"
        )


def _name(entry: FileEntry) -> str:
    return entry.path if len(entry.parts) == 1 else f"a part of {entry.path}"


def _ranges(manifest: Manifest, most: int | None = None) -> Iterator[_Range]:
    """Yield what the files consist of, in pieces of at most so many bytes."""
    for entry in manifest.files:
        offset = 0
        for part in entry.parts:
            for start in range(0, part.size, most or part.size):
                size = min(most or part.size, part.size - start)
                yield _Range(entry, part, start, offset + start, size)
            offset += part.size


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    handle = os.open(file, os.O_WRONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _write(handle: int, offset: int, data: Buffer) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(handle, left, offset)
        left, offset = left[written:], offset + written
