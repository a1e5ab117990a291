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
from pathlib import Path
from typing import BinaryIO

# An ending of '#' and digits is hidden from lists by obstore's local store. Nineteen digits, so
# that no file of a user's is ever taken for one of ours and swept away.
_STAGING = re.compile(r"#\d{19}$")


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
        _sync_folder(target.parent)
    return True


def sweep(root: Path, older_than: float) -> int:
    """Remove staging files that killed processes left below ``root``; return how many.

    Args:
        root: the folder to look through.
        older_than: seconds since the last write, after which a staging file is abandoned.
    """
    limit = time.time() - older_than
    staged = (
        Path(folder, name)
        for folder, _, names in os.walk(root)
        for name in names
        if _STAGING.search(name)
    )
    return sum(_remove_if_older(path, limit) for path in staged)


def _write(staging: Path, chunks: Iterable[bytes], *, durable: bool) -> None:
    with _open_new(staging) as file:
        for chunk in chunks:
            file.write(chunk)
        if durable:
            file.flush()
            os.fsync(file.fileno())


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
        _sync_folder(place.parent)


def _name(staging: Path, target: Path, *, replace: bool) -> bool:
    if replace:
        staging.replace(target)
        return True
    try:
        target.hardlink_to(staging)
    except FileExistsError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder, and do not need it.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def _remove_if_older(path: Path, limit: float) -> bool:
    try:
        if path.stat().st_mtime >= limit:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True
