"""Saving a checkpoint: the parts of all files, and then the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from tuneflow.blobs import REUSE, Blobs, Content
from tuneflow.checkpoint_files import stamp
from tuneflow.checkpoint_parts import Span, changed, cut
from tuneflow.manifest import FileEntry, Manifest, Part
from tuneflow.staging import Staging
from tuneflow.storage_clock import StorageClock
from tuneflow.store import AlreadyExists, Store

_Place: TypeAlias = tuple[str, int, int]
"""A part's file, its number there, and its size."""


class Known:
    """The parts in the manifest that is kept for as long as a run of a segment lasts.

    It is the last one that the run saved; before the first, the one that it was restored from.
    """

    def __init__(self) -> None:
        self._restored: dict[_Place, Part] = {}
        self._saved: dict[_Place, Part] = {}
        # Where the last save found other bytes than the one before.
        self._changing: set[_Place] = set()

    def restore(self, manifest: Manifest) -> None:
        """Take note of what the run was restored from."""
        self._restored = _places(manifest)

    def forget(self) -> None:
        """Rely on nothing."""
        self._restored, self._saved = {}, {}

    def save(self, manifest: Manifest) -> None:
        """Take note of what the run saved."""
        before = {**self._restored, **self._saved}
        # From now on it is this one that is kept for sure.
        self._saved, self._restored = _places(manifest), {}
        self._changing = {
            place for place, part in self._saved.items() if before.get(place, part) != part
        }

    def parts(self) -> dict[Content, Part]:
        """Return the parts by their content."""
        known = [*self._restored.values(), *self._saved.values()]
        return {(part.size, part.hash): part for part in known}

    def unchanged(self, files: Mapping[str, Sequence[Span]]) -> set[Span]:
        """Return the spans of files, by their names, that are likely to be what they were.

        Those are the ones that were there before and did not change from the last but one save to
        the last. Nothing depends on it but how often they are read.
        """
        likely = {*self._restored, *self._saved} - self._changing
        return {
            span
            for name, spans in files.items()
            for number, span in enumerate(spans)
            if (name, number, span.size) in likely
        }


class Storing:
    """One save.

    Args:
        store: the study's store.
        clock: its time.
        known: what can be relied on.
    """

    def __init__(self, store: Store, clock: StorageClock, known: Known) -> None:
        self._store = store
        self._clock = clock
        self._known = known

    def run(self, ref: str, empty: Manifest, members: Mapping[str, Path]) -> Manifest | None:
        """Store files as a checkpoint; return None if there is another one of this name.

        Args:
            ref: key of the manifest.
            empty: the manifest, without its files.
            members: the files by their names.
        """
        began = self._clock.elapsed()
        with Staging.of(self._store) or nullcontext() as staging:
            blobs = Blobs(self._store, self._clock, self._known.parts(), staging)
            entries = self._store_files(blobs, members)
            checked = began
            while self._clock.elapsed() - checked > REUSE:
                checked = self._clock.elapsed()
                entries = _with(blobs.complete(), entries)
            blobs.settle()
            data = replace(empty, files=tuple(entries)).to_bytes()
            try:
                self._store.create(ref, data)
            except AlreadyExists:
                return None
            if self._clock.elapsed() - began > REUSE:
                blobs.mend()
        return Manifest.from_bytes(data)

    def _store_files(self, blobs: Blobs, members: Mapping[str, Path]) -> list[FileEntry]:
        """Store what the files consist of, and make sure that nobody wrote to them meanwhile."""
        stamps = {file: stamp(file) for file in members.values()}
        spans = {name: cut(members[name]) for name in sorted(members)}
        parts = blobs.store([*chain(*spans.values())], self._known.unchanged(spans))
        for file, before in stamps.items():
            if stamp(file) != before:
                raise changed(file)
        return [FileEntry(name, tuple(parts[span] for span in spans[name])) for name in spans]


def _with(fresh: Mapping[Part, Part], entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Return files with other blobs in place of some."""
    return [
        replace(entry, parts=tuple(fresh.get(part, part) for part in entry.parts))
        for entry in entries
    ]


def _places(manifest: Manifest) -> dict[_Place, Part]:
    return {
        (entry.path, number, part.size): part
        for entry in manifest.files
        for number, part in enumerate(entry.parts)
    }
