"""Checkpoints: files as parts that are named by their content, and a manifest that lists them.

The parts go to ``blobs/`` under the hash of their bytes, so that what does not change is stored
once however many trials and steps have it, and a clone copies nothing. The manifest is written last
and create-only: a checkpoint is either complete or not there.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneflow.checkpoint_files import find_files
from tuneflow.errors import CheckpointCorruptError, CorruptError, SpecError
from tuneflow.in_flight import AT_ONCE
from tuneflow.manifest import FileEntry, Manifest, Part
from tuneflow.patience import in_parallel
from tuneflow.restoring import Restoring, check_size
from tuneflow.storage_clock import StorageClock, uptime
from tuneflow.store import NotFound, Store
from tuneflow.storing import Known, Storing

__all__ = ["Checkpoints", "FileEntry", "Manifest", "Part"]

_log = logging.getLogger("tuneflow")


class Checkpoints:
    """The checkpoints of one study, for one run of a segment.

    What this object has restored, or has saved last, it relies on without a question: as long as
    the run lasts, these manifests must not be removed. One save runs at a time.

    Args:
        store: the study's store.
        elapsed: seconds since any fixed moment. Default: `tuneflow.storage_clock.uptime`.
        wall: this machine's time, in seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        elapsed: Callable[[], float] = uptime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._clock = StorageClock(store, elapsed, wall)
        self._known = Known()

    def save(
        self,
        ref: str,
        source: Path,
        *,
        resource: float,
        reports: Sequence[Mapping[str, Any]] = (),
    ) -> Manifest:
        """Store a file or folder as a checkpoint.

        Saving under a ``ref`` that is taken stores nothing that lasts and returns what is there: it
        is the same segment, run a second time.

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
        empty = Manifest(
            resource,
            tuple(FileEntry(name, ()) for name in sorted(members)),
            tuple(dict(report) for report in reports),
        )
        # Refuses names and reports before anything is stored.
        empty.to_bytes()
        manifest = Storing(self._store, self._clock, self._known).run(ref, empty, members)
        if manifest is None:
            manifest = self.load(ref)
        self._known.save(manifest)
        return manifest

    def load(self, ref: str) -> Manifest:
        """Return a checkpoint's manifest. Raises `NotFound` or `CheckpointCorruptError`."""
        data = self._store.get(ref)
        try:
            return Manifest.from_bytes(data)
        except CorruptError as error:
            raise CheckpointCorruptError(f"checkpoint {ref}: {error}") from None

    def restore(self, ref: str, target: Path) -> Manifest:
        """Fetch a checkpoint's files into a folder, and verify their sizes and hashes.

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
            Restoring(self._store, ref, target).run(manifest)
        except BaseException:
            _empty(target)
            raise
        self._known.restore(manifest)
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

        Arguments and warnings are those of `restore` and `newest`. Only the last of ``refs`` is
        relied on: to whoever decides what is kept, those before it are outdated.
        """
        good = self._first_good(refs, lambda ref: self.restore(ref, target))
        if good is not None and good[0] != refs[-1]:
            self.forget()
        return good

    def forget(self) -> None:
        """Rely on no manifest any more; what it has is asked for, or stored again."""
        self._known.forget()

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
        parts = {part: entry for entry in manifest.files for part in entry.parts}
        sizes = in_parallel(lambda part: self._store.size(part.key), parts, AT_ONCE)
        for (part, entry), size in zip(parts.items(), sizes, strict=True):
            check_size(ref, entry, part, size)
        return manifest


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
