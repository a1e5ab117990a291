"""Scratch directories that are removed, at the latest by the next process after a crash.

Each process has one directory below the temporary directory, with a lock on a file in it for as
long as it lives. A directory whose lock is free belongs to nobody any more.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO

_PREFIX = "tuneflow-run-"
_LOCK = "lock"


class _Scratch:
    """The scratch directory of this process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Locked before it has the name that others look for.
        self._held = _lock(self.root / "new")
        (self.root / "new").rename(self.root / _LOCK)
        atexit.register(self.remove)

    def remove(self) -> None:
        """Remove it, unless this is a fork of the process that owns it."""
        if os.getpid() == self.pid:
            shutil.rmtree(self.root, ignore_errors=True)


_numbers = itertools.count()
_guard = threading.Lock()
_scratch: _Scratch | None = None


def new_path(prefix: str) -> Path:
    """Return an unused path; what is made there lives at most as long as this process."""
    return _root() / f"{prefix}-{next(_numbers)}"


def _root() -> Path:
    global _scratch  # noqa: PLW0603 - one per process
    with _guard:
        if _scratch is None or _scratch.pid != os.getpid() or not _scratch.root.exists():
            sweep()
            _scratch = _Scratch()
        return _scratch.root


def sweep() -> None:
    """Remove the scratch directories of processes that were killed."""
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if (root / _LOCK).exists() and _is_abandoned(root / _LOCK):
            shutil.rmtree(root, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    held = _lock(path)
    if held is None:
        return False
    held.close()
    return True


def _lock(path: Path) -> IO[str] | None:
    """Return the file, locked, or None when another process has it or it is not ours."""
    try:
        file = path.open("a")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
