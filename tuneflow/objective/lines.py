"""Reports among the lines that a command prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINE_LIMIT = 1_000_000
"""A longer line is no report; what is kept of it goes to the log alone."""


class Lines:
    """Cuts a stream of bytes into lines, in bounded memory."""

    def __init__(self) -> None:
        self._partial = b""
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that ``data`` completes; nothing but ``b""`` means the end."""
        if not data:
            yield from self._last()
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._extend(line)
            yield from self._last()
        self._extend(rest)

    def _extend(self, data: bytes) -> None:
        self._too_long = self._too_long or len(self._partial) + len(data) > LINE_LIMIT
        self._partial = b"" if self._too_long else self._partial + data

    def _last(self) -> Iterator[bytes]:
        line, self._partial = self._partial, b""
        if line and not self._too_long:
            yield line
        self._too_long = False


@dataclass(frozen=True, slots=True)
class PrintedReport:
    """What a line says.

    Attributes:
        metrics: names to numbers.
        resource: the level, if the line gives one.
        checkpoint: the path of a checkpoint, if it names one.
    """

    metrics: dict[str, float]
    resource: Any = None
    checkpoint: str | None = None


def parse(line: bytes) -> PrintedReport | None:
    """Read a line that is a JSON object with at least one metric; None for any other."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    metrics = {name: float(value) for name, value in data.items() if _is_metric(name, value)}
    checkpoint = data.get("checkpoint")
    if not metrics:
        return None
    return PrintedReport(
        metrics,
        data.get("resource"),
        checkpoint if isinstance(checkpoint, str) else None,
    )


def _is_metric(name: str, value: Any) -> bool:
    if name in ("resource", "checkpoint") or isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 1e308)


def checkpoint_path(directory: Path, name: str) -> Path:
    """Return the checkpoint that a line names.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it lies outside of ``directory``.
    """
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise ValueError(f"checkpoint {name!r} is not below TUNEFLOW_CHECKPOINT_DIR")
    if not path.exists():
        raise FileNotFoundError(f"checkpoint {name!r} is not in TUNEFLOW_CHECKPOINT_DIR")
    return path
