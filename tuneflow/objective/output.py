"""Capture what a trial prints: a bounded log, and a stdout that knows whose thread prints."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any, TextIO

from tuneflow.redaction import redacted_bytes

LOG_LIMIT = 1_000_000
"""How many of a segment's last bytes of output are kept."""


class Log:
    """The newest output of one segment, in the order it came; safe from any thread."""

    __slots__ = ("_chunks", "_dropped", "_limit", "_lock", "_size")

    def __init__(self, limit: int = LOG_LIMIT) -> None:
        self._chunks: deque[bytes] = deque()
        self._dropped = 0
        self._limit = limit
        self._lock = threading.Lock()
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add output, dropping the oldest when there is too much."""
        if not data:
            return
        with self._lock:
            self._chunks.append(data)
            self._size += len(data)
            while self._size - len(self._chunks[0]) >= self._limit:
                self._drop(self._chunks.popleft())

    def _drop(self, chunk: bytes) -> None:
        self._size -= len(chunk)
        self._dropped += len(chunk)

    def getvalue(self) -> bytes:
        """Return what was kept, without secrets, under a line that says what was dropped."""
        with self._lock:
            kept = redacted_bytes(b"".join(self._chunks))
            dropped = self._dropped
        excess = max(len(kept) - self._limit, 0)
        if not dropped + excess:
            return kept
        return b"[%d earlier bytes were dropped]\n" % (dropped + excess) + kept[excess:]

    def tail(self, lines: int = 20, width: int = 1000) -> str:
        """Return the last lines as text, each cut to ``width`` characters."""
        text = self.getvalue()[-lines * width :].decode(errors="replace")
        return "\n".join(line[-width:] for line in text.splitlines()[-lines:])


class _Thread(threading.local):
    log: Log | None = None


_thread = _Thread()


class ThreadOutput:
    """Stands in for stdout or stderr: a trial's thread prints to its log, all others as before."""

    def __init__(self, original: TextIO) -> None:
        self.original = original

    def write(self, text: str) -> int:
        """Write to the log of the trial that this thread runs, else to the original."""
        log = _thread.log
        if log is None:
            return self.original.write(text)
        log.write(text.encode(errors="replace"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the original; a log needs none."""
        if _thread.log is None:
            self.original.flush()

    def isatty(self) -> bool:
        """Return False in a trial, so that progress bars print plain lines."""
        return _thread.log is None and self.original.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


def capture(log: Log | None) -> None:
    """Send what the calling thread prints from now on to ``log``; None ends that."""
    _thread.log = log


_lock = threading.Lock()
_users = 0


def install() -> None:
    """Put `ThreadOutput` in the place of stdout and stderr, until as many calls of `uninstall`."""
    global _users  # noqa: PLW0603 - stdout is global too
    with _lock:
        _users += 1
        if not isinstance(sys.stdout, ThreadOutput):
            sys.stdout = ThreadOutput(sys.stdout)
        if not isinstance(sys.stderr, ThreadOutput):
            sys.stderr = ThreadOutput(sys.stderr)


def uninstall() -> None:
    """Put stdout and stderr back once nobody needs the capture any more."""
    global _users  # noqa: PLW0603
    with _lock:
        _users -= 1
        if _users:
            return
        if isinstance(sys.stdout, ThreadOutput):
            sys.stdout = sys.stdout.original
        if isinstance(sys.stderr, ThreadOutput):
            sys.stderr = sys.stderr.original
