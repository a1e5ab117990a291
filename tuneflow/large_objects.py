"""Large objects on their way, in parts: several at once, and each tried again by itself."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import obstore

from tuneflow.errors import StorageError
from tuneflow.patience import Place, in_parallel, is_abandoned, patiently
from tuneflow.store_errors import explain, is_missing_bucket

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore
    from typing_extensions import Buffer

CHUNK: Final = 1 << 20
"""Bytes that are read at a time."""

# The least that S3 takes as one part of a larger object.
PART: Final = 5 << 20
# S3 takes at most 10,000 parts.
_MAX_PARTS: Final = 9_000
_PARTS_AT_ONCE: Final = 4
_IN_FLIGHT: Final = 20 << 20

_A = TypeVar("_A")


@dataclass(frozen=True, slots=True)
class Stat:
    """What a storage says of an object.

    Attributes:
        size: in bytes.
        modified: when it was last written, by the storage's clock, in seconds since 1970.
    """

    size: int
    modified: float

    @classmethod
    def of(cls, meta: ObjectMeta) -> Stat:
        """Return what obstore's description of an object says."""
        return cls(meta["size"], meta["last_modified"].timestamp())


class Chunks(Iterable[bytes]):
    """Bytes that can be gone through as often as it takes to store them.

    Args:
        make: returns them from the beginning; called each time.
    """

    def __init__(self, make: Callable[[], Iterable[bytes]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._make())


def read_chunks(file: Path) -> Chunks:
    """Return a file's bytes, one megabyte at a time; it is opened when they are gone through."""
    return Chunks(lambda: read_file(file))


def send(objects: ObjectStore, key: str, chunks: Iterable[bytes], size: int) -> None:
    """Store an object in parts. Raises what obstore raises.

    Runs in a thread of its own, so that Ctrl-C need not wait for a storage that is away.
    """

    def put(source: Iterator[bytes]) -> None:
        part = max(PART, size // _MAX_PARTS)
        try:
            obstore.put(
                objects,
                key,
                source,
                use_multipart=True,
                chunk_size=part,
                max_concurrency=max(1, min(_PARTS_AT_ONCE, _IN_FLIGHT // part)),
            )
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise
            # The parts are gone: they were put together, and the answer was lost; or swept away.
            raise ConnectionResetError(errno.ECONNRESET, "the upload was forgotten") from None

    in_parallel(put, [_while_wanted(chunks)], 1)


def fetch(objects: ObjectStore, key: str, file: Path, place: Place) -> None:
    """Write an object into a file. Raises what obstore raises, and StorageError for the file's."""

    def begin() -> int:
        answer = obstore.get(objects, key)
        size: int = answer.meta["size"]
        _write(file, 0, answer.bytes() if size <= PART else b"")
        return size

    def fetch_part(start: int) -> None:
        length = min(PART, size - start)
        data = patiently(place, lambda: obstore.get_range(objects, key, start=start, length=length))
        _write(file, start, data)

    size = patiently(place, begin)
    if size > PART:
        in_parallel(fetch_part, range(0, size, PART), _PARTS_AT_ONCE)


def read_file(file: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield a file's bytes from one place to another, one megabyte at a time."""
    left = end - start if end is not None else sys.maxsize
    with file.open("rb", buffering=0) as source:
        source.seek(start)
        while left and (chunk := source.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def begun(chunks: Iterable[_A]) -> Iterator[_A]:
    """Return an iterator whose first item is there already; raise what comes in its place."""
    rest = iter(chunks)
    return chain([*islice(rest, 1)], rest)


def _while_wanted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if is_abandoned():
            raise InterruptedError("nobody waits for this upload")
        yield chunk


def _write(file: Path, start: int, data: Buffer) -> None:
    # Opened for each part: a thread that nobody waits for must not write to a number that has been
    # given to another file.
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            left = memoryview(data)
            while left:
                written = os.pwrite(handle, left, start)
                left, start = left[written:], start + written
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(f"cannot write to {file.parent}: {explain(error)}") from None
