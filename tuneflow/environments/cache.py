"""Where environments are kept, and who uses them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tuneflow.errors import SearcherError, SpecError

CACHE: Final = "TUNEFLOW_CACHE"
"""The environment variable that names another folder than the user's cache."""

_MARK: Final = "environment.json"


def cache_folder() -> Path:
    """Return the folder of all environments."""
    given = os.environ.get(CACHE)
    if given:
        return Path(given).expanduser().absolute() / "environments"
    default = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    base = Path(os.environ.get("XDG_CACHE_HOME") or default).expanduser()
    return base / "tuneflow" / "environments"


@dataclass(frozen=True)
class Cached:
    """A place in the cache, for one environment.

    Attributes:
        folder: the environment's, whose name is its key.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def log(self) -> Path:
        """What was printed while it was made."""
        return self.folder / "install.log"

    def is_complete(self) -> bool:
        """Whether all of it is there, and the Python that it was made from still is."""
        return (self.folder / _MARK).exists() and self.python.exists()

    def complete(self, description: dict[str, Any]) -> None:
        """Note that all of it is there, and what it is."""
        draft = self.folder / f"{_MARK}.new"
        draft.write_text(json.dumps(description, indent=2) + "\n")
        draft.replace(self.folder / _MARK)

    def touch(self) -> None:
        """Note that it is used now; one that others own cannot be noted upon."""
        if os.access(self.folder / _MARK, os.W_OK):
            os.utime(self.folder / _MARK)

    def describe(self) -> dict[str, Any] | None:
        """Return what it is, and when it was used last; None while it is not complete."""
        try:
            mark = self.folder / _MARK
            return {**json.loads(mark.read_text()), "used": mark.stat().st_mtime}
        except (OSError, ValueError):
            return None

    def size(self) -> int:
        """Return how many bytes of the disk it takes."""
        files = (path for path in self.folder.rglob("*") if not path.is_dir())
        return sum(path.lstat().st_blocks * 512 for path in files)

    def lock(self, *, shared: bool) -> IO[str]:
        """Wait for a lock on it, and return it; it is free once closed.

        Those who use it share it. Who makes or removes it has it alone.

        Raises:
            SearcherError: nothing can be written there.
        """
        return self._lock(fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def try_lock(self, *, shared: bool) -> IO[str] | None:
        """Return a lock if it is free, else None."""
        try:
            return self._lock((fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    def _lock(self, operation: int) -> IO[str]:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            file = self.folder.with_name(f"{self.folder.name}.lock").open("a")
        except OSError as error:
            problem = f"environments cannot be kept in {self.folder.parent}: {error}"
            raise SearcherError(f"{problem}; name another folder in {CACHE}") from error
        try:
            fcntl.flock(file, operation)
        except BaseException:
            file.close()
            raise
        return file

    def clear(self) -> None:
        """Remove what is there. Only who has it alone may do so."""
        # Without its mark it is not used, should this be cut short.
        (self.folder / _MARK).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def cached() -> Iterator[Cached]:
    """Yield every environment that is kept, in the order of their keys."""
    folder = cache_folder()
    for found in sorted(folder.iterdir()) if folder.exists() else ():
        if found.is_dir():
            yield Cached(found)


def remove(key: str) -> str:
    """Remove an environment, and return its key.

    Args:
        key: its key, or the beginning of it that no other one has.

    Raises:
        SpecError: there is none, there are several, or it is in use.
    """
    matching = [place for place in cached() if place.folder.name.startswith(key)]
    if len(matching) != 1:
        problem = f"{len(matching) or 'no'} environments begin with '{key}'"
        raise SpecError("KEY", problem, "tuneflow environments list shows their keys")
    lock = matching[0].try_lock(shared=False)
    if lock is None:
        raise SpecError("KEY", f"{matching[0].folder.name} is in use")
    with lock:
        matching[0].clear()
    return matching[0].folder.name
