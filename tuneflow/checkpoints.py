"""Checkpoints: files named by their content, and a manifest that makes them one checkpoint.

The files go to ``blobs/`` under the hash of their bytes, so that an unchanged file is stored once
however many trials and steps have it, and a clone copies nothing. The manifest is written last and
create-only: a checkpoint is either complete or not there.

Whoever deletes blobs must spare those younger than the longest save: a save that finds a blob in
place does not store it again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from blake3 import blake3

from tuneflow.checkpoint_files import find_files
from tuneflow.errors import CheckpointCorruptError, CorruptError, SpecError
from tuneflow.manifest import FileEntry, Manifest
from tuneflow.store import AlreadyExists, NotFound, Store, read_chunks

__all__ = ["Checkpoints", "FileEntry", "Manifest"]

_FILES_AT_ONCE: Final = 4
_A = TypeVar("_A")
_B = TypeVar("_B")
_log = logging.getLogger("tuneflow")


class Checkpoints:
    """The checkpoints of one study.

    Args:
        store: the study's store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[str] = set()

    def save(
        self,
        ref: str,
        source: Path,
        *,
        resource: float,
        reports: Sequence[Mapping[str, Any]] = (),
    ) -> Manifest:
        """Store a file or folder as a checkpoint.

        Saving under a ``ref`` that is taken stores nothing and returns what is there: it is the
        same segment, run a second time.

        Args:
            ref: key of the manifest, such as ``trials/000017/checkpoints/0003-27.json``.
            source: a folder, taken with everything below it except empty folders, or one file.
                A symbolic link is followed, but only to a place inside the folder.
            resource: the resource level at which the checkpoint was taken.
            reports: what was reported up to here, as JSON; kept in the manifest.

        Raises:
            SpecError: ``source`` does not exist, holds something that is neither file nor folder,
                a link that leads outside, or a name that not every system can hold; or ``reports``
                is not JSON.
            CheckpointCorruptError: a file changed while it was being stored.
        """
        members = find_files(source)
        entries = _in_parallel(lambda name: _entry(name, members[name]), sorted(members))
        manifest = Manifest(resource, tuple(entries), tuple(dict(report) for report in reports))
        data = manifest.to_bytes()
        distinct = {entry.hash: entry for entry in entries}.values()
        _in_parallel(lambda entry: self._store_blob(entry, members[entry.path]), distinct)
        try:
            self._store.create(ref, data)
        except AlreadyExists:
            return self.load(ref)
        return Manifest.from_bytes(data)

    def load(self, ref: str) -> Manifest:
        """Return a checkpoint's manifest. Raises `NotFound` or `CheckpointCorruptError`."""
        data = self._store.get(ref)
        try:
            return Manifest.from_bytes(data)
        except CorruptError as error:
            raise CheckpointCorruptError(f"checkpoint {ref}: {error}") from None

    def restore(self, ref: str, target: Path) -> Manifest:
        """Fetch a checkpoint's files into a folder, and verify each one's size and hash.

        Args:
            ref: key of the manifest.
            target: a folder that is empty or does not exist. It is left empty on failure.

        Raises:
            NotFound: there is no such checkpoint.
            CheckpointCorruptError: the manifest or a file is not what was stored.
            SpecError: ``target`` has files in it.
        """
        manifest = self.load(ref)
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise SpecError("target", f"'{target}' is not empty", "restore into an empty folder")
        try:
            _in_parallel(lambda entry: self._restore_file(ref, entry, target), manifest.files)
        except BaseException:
            _empty(target)
            raise
        return manifest

    def newest(self, refs: Sequence[str]) -> tuple[str, Manifest] | None:
        """Return the newest checkpoint whose files are all there with their right sizes.

        Those that are not are reported as warnings of the ``tuneflow`` logger.

        Args:
            refs: keys of manifests, from the oldest to the newest.
        """
        return self._first_good(refs, self._check)

    def restore_newest(self, refs: Sequence[str], target: Path) -> tuple[str, Manifest] | None:
        """Restore the newest checkpoint that is good, hashes included; None if none is.

        Arguments and warnings are those of `restore` and `newest`.
        """
        return self._first_good(refs, lambda ref: self.restore(ref, target))

    def _first_good(
        self, refs: Sequence[str], attempt: Callable[[str], Manifest]
    ) -> tuple[str, Manifest] | None:
        for ref in reversed(refs):
            try:
                return ref, attempt(ref)
            except (NotFound, CheckpointCorruptError) as error:
                _log.warning("falling back to an older checkpoint: %s", error)
        return None

    def _check(self, ref: str) -> Manifest:
        manifest = self.load(ref)
        sizes = _in_parallel(lambda entry: self._store.size(_blob(entry.hash)), manifest.files)
        for entry, size in zip(manifest.files, sizes, strict=True):
            _check_size(ref, entry, size)
        return manifest

    def _store_blob(self, entry: FileEntry, file: Path) -> None:
        if entry.hash in self._known:
            return
        key = _blob(entry.hash)
        if self._store.size(key) != entry.size:
            self._store.upload(key, _unchanged(entry, file), entry.size)
        self._known.add(entry.hash)

    def _restore_file(self, ref: str, entry: FileEntry, target: Path) -> None:
        file = target / entry.path
        try:
            self._store.download(_blob(entry.hash), file)
        except NotFound:
            _check_size(ref, entry, None)
        found = _entry(entry.path, file)
        _check_size(ref, entry, found.size)
        if found.hash != entry.hash:
            raise CheckpointCorruptError(
                f"checkpoint {ref}: {entry.path} has the hash {found.hash} instead of {entry.hash}"
            )


def _blob(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def _entry(name: str, file: Path) -> FileEntry:
    hasher, size = blake3(), 0
    for chunk in read_chunks(file):
        hasher.update(chunk)
        size += len(chunk)
    return FileEntry(name, size, hasher.hexdigest())


def _unchanged(entry: FileEntry, file: Path) -> Iterator[bytes]:
    """Yield a file's bytes; raise at the end if they are not those that were hashed before.

    An upload whose source raises leaves nothing behind, so no blob ever has a wrong name.
    """
    hasher = blake3()
    for chunk in read_chunks(file):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != entry.hash:
        raise CheckpointCorruptError(
            f"{entry.path} changed while it was being stored; write a checkpoint completely "
            "before handing it over"
        )


def _check_size(ref: str, entry: FileEntry, size: int | None) -> None:
    if size is None:
        raise CheckpointCorruptError(f"checkpoint {ref}: {entry.path} is missing")
    if size != entry.size:
        raise CheckpointCorruptError(
            f"checkpoint {ref}: {entry.path} has {size} bytes instead of {entry.size}"
        )


def _in_parallel(function: Callable[[_A], _B], values: Iterable[_A]) -> list[_B]:
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return [*pool.map(function, values)]


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
