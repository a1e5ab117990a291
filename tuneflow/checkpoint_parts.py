"""Where a file is cut into the parts that are stored each by itself.

A ``.safetensors`` file is cut at its tensors, so that those that did not change are not stored
again. The cuts lie where the file's own header says; every other file, and one whose header is not
exactly right, is a single part. A cut never changes a byte: the parts together are the file.

The format: 8 bytes with the header's length, little-endian; the header, a JSON object that gives
each tensor's place in the data; the data, which the tensors fill without holes
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Final

from tuneflow.errors import CheckpointCorruptError, SpecError
from tuneflow.jsonio import loads

PACKED_BELOW: Final = 256 << 10
"""Neighbouring tensors that are smaller than this share a part."""
PACK: Final = 4 << 20
"""The most bytes that such a part has."""

# Ten thousand tensors. Parsing takes about ten times the header's memory.
_MAX_HEADER: Final = 1 << 20
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file that is to be stored.

    Attributes:
        file: the file.
        start: the first byte.
        size: bytes, at least 1.
    """

    file: Path
    start: int
    size: int

    def read(self, chunk: int = _CHUNK) -> Iterator[bytes]:
        """Yield the bytes, ``chunk`` at a time.

        Raises `CheckpointCorruptError` if the file has become shorter, or is gone, and `SpecError`
        if it may not be read.
        """
        left = self.size
        with _readable(self.file), self.file.open("rb", buffering=0) as source:
            source.seek(self.start)
            while left and (data := source.read(min(chunk, left))):
                left -= len(data)
                yield data
        if left:
            raise changed(self.file)


def changed(file: Path) -> CheckpointCorruptError:
    """Return the error for a file that was written to while it was being stored."""
    return CheckpointCorruptError(
        f"{file.name} changed while it was being stored; write a checkpoint completely "
        "before handing it over"
    )


def unreadable(file: Path) -> SpecError:
    """Return the error for a file or folder that this process may not read."""
    return SpecError("checkpoint", f"'{file}' may not be read", "let the worker's user read it")


def cut(file: Path) -> list[Span]:
    """Return the spans that a file consists of, in order; none for an empty file.

    Raises like `Span.read`.
    """
    with _readable(file):
        size = file.stat().st_size
        sizes = [size] if size else []
        if file.name.endswith(".safetensors") and size >= PACKED_BELOW:
            with file.open("rb") as source:
                sizes = _tensor_sizes(source, size) or sizes
    starts = accumulate(sizes, initial=0)
    return [Span(file, start, length) for start, length in zip(starts, sizes, strict=False)]


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Blame the checkpoint, and not the storage, for what is wrong with its file."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise changed(file) from None
    except PermissionError:
        raise unreadable(file) from None


def _tensor_sizes(source: BinaryIO, size: int) -> list[int] | None:
    """Return the sizes of header and tensors, packed; None if the file is not well-formed."""
    length = int.from_bytes(source.read(8), "little")
    if length > min(_MAX_HEADER, size - 8):
        return None
    try:
        header = loads(source.read(length))
    except (ValueError, RecursionError):
        return None
    tensors = _tensors(header, size - 8 - length)
    return None if tensors is None else [8 + length, *_packed(tensors)]


def _tensors(header: Any, size: int) -> list[int] | None:
    """Return the sizes of the tensors in the order of the data, which they must fill exactly."""
    if not isinstance(header, dict):
        return None
    offsets = [_offsets(tensor) for name, tensor in header.items() if name != "__metadata__"]
    ranges = sorted(pair for pair in offsets if pair is not None)
    begins = [0, *(end for _, end in ranges)]
    ends = [*(begin for begin, _ in ranges), size]
    if len(ranges) < len(offsets) or begins != ends:
        return None
    return [end - begin for begin, end in ranges if end > begin]


def _offsets(tensor: Any) -> tuple[int, int] | None:
    offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
    if not isinstance(offsets, list) or [type(offset) for offset in offsets] != [int, int]:
        return None
    begin, end = offsets
    return (begin, end) if 0 <= begin <= end else None


def _packed(sizes: list[int]) -> Iterator[int]:
    """Put small neighbours together."""
    pack = 0
    for size in sizes:
        is_small = size < PACKED_BELOW
        if pack and not (is_small and pack + size <= PACK):
            yield pack
            pack = 0
        if is_small:
            pack += size
        else:
            yield size
    if pack:
        yield pack
