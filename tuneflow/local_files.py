"""Files that are whole, and on the disk, before anyone can see them.

A power cut may leave a visible name with none of its bytes when a file gets its name first and is
synced later, or never (obstore's local store never syncs). So the bytes go to a staging file beside
the target, are forced to the disk, and only then get their name.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, Self

# An ending of '#' and digits is hidden from lists by obstore's local store. Nineteen digits, so
# that no file of a user's is ever taken for one of ours and swept away.
_STAGING = re.compile(r"#\d{19}$")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_SYNC_EVERY: Final = 8 << 20


def publish(
    target: Path, chunks: Iterable[bytes], *, replace: bool = False, durable: bool = True
) -> bool:
    """Write a file that appears under its name all at once, making folders where needed.

    Args:
        target: the file's final name.
        chunks: its bytes. If the iterable raises, nothing appears.
        replace: whether a file of this name is overwritten. If not, exactly one of any number of
            racing processes succeeds; this needs a file system with hard links.
        durable: whether to return only when a power cut can no longer take the file away.

    Returns:
        False if the name is taken and ``replace`` is not set, else True.
    """
    staging = target.with_name(f"{target.name}#{secrets.randbelow(10**19):019d}")
    try:
        _write(staging, chunks, durable=durable)
        if not _name(staging, target, replace=replace):
            return False
    finally:
        staging.unlink(missing_ok=True)
    if durable:
        sync_folder(target.parent)
    return True


def stage(folder: Path, chunks: Iterable[bytes]) -> Path:
    """Write a file that is on the disk and has no name yet; return where it lies.

    Whoever calls this names it by moving it within the file system, or removes it. If the iterable
    raises, nothing is left.
    """
    staging = folder / f"staged#{secrets.randbelow(10**19):019d}"
    try:
        _write(staging, chunks, durable=True)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    return staging


def settle(target: Path) -> None:
    """Force a file that is there, and its name, to the disk.

    Whoever has written it may have been cut off before that.
    """
    handle = os.open(target, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(target.parent)


def sweep(root: Path, older_than: float, *, dry_run: bool = False) -> int:
    """Remove staging files that killed processes left below ``root``; return how many.

    Args:
        root: the folder to look through.
        older_than: seconds since the last write, after which a staging file is abandoned.
        dry_run: only count them.
    """
    limit = time.time() - older_than
    staged = (
        Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if _STAGING.search(name)
    )
    return sum(_remove_if_older(path, limit, dry_run) for path in staged)


def _write(staging: Path, chunks: Iterable[bytes], *, durable: bool) -> None:
    with _open_new(staging) as file, _Syncing(file.fileno()) as syncing:
        for chunk in chunks:
            file.write(chunk)
            if durable:
                syncing.wrote(len(chunk))
        if durable:
            file.flush()
            syncing.finish()


class _Syncing:
    """Forces a file to the disk while it is still being written, so that the end waits for little.

    Args:
        handle: the number of the open file.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._unsynced = 0
        self._pool: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def wrote(self, size: int) -> None:
        """Take note of bytes that were handed to the system."""
        self._unsynced += size
        if self._unsynced >= _SYNC_EVERY and (self._running is None or self._running.done()):
            self._raise_error()
            self._pool = self._pool or ThreadPoolExecutor(1)
            self._running = self._pool.submit(os.fsync, self._handle)
            self._unsynced = 0

    def finish(self) -> None:
        """Return when everything is on the disk."""
        self._raise_error()
        os.fsync(self._handle)

    def _raise_error(self) -> None:
        # The system tells of a failed write once, to whoever syncs first.
        if self._running is not None:
            self._running.result()


def _open_new(path: Path) -> BinaryIO:
    try:
        return path.open("xb")
    except FileNotFoundError:
        _make_folder(path.parent)
        return path.open("xb")


def _make_folder(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_folder(place.parent)


def _name(staging: Path, target: Path, *, replace: bool) -> bool:
    if replace:
        staging.replace(target)
        return True
    try:
        target.hardlink_to(staging)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise OSError(error.errno, "the file system has no hard links") from None
        raise
    return True


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder, and do not need it.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def _remove_if_older(path: Path, limit: float, dry_run: bool) -> bool:
    try:
        if path.stat().st_mtime >= limit:
            return False
        if not dry_run:
            path.unlink()
    except FileNotFoundError:
        return False
    return True
