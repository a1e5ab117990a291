"""One collection, from its beginning to its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tuneflow.blobs import REUSE
from tuneflow.checkpointing import Keep
from tuneflow.collecting.collection import Collection
from tuneflow.collecting.manifests import REF, Manifests, sort_out
from tuneflow.collecting.references import References, is_blob
from tuneflow.collecting.spared import is_measuring, named, of_champions, require_there
from tuneflow.errors import SpecError, StorageError
from tuneflow.journal import entry_path
from tuneflow.opened import OpenStudy
from tuneflow.retention import Needs
from tuneflow.store import Stat, Store

COLLECT: Final = 2 * REUSE
"""Seconds after which what no manifest has is in none that is yet to come: an hour.

A save that has found something young stores its manifest while that is still younger than this.
"""

_BATCH: Final = 500
"""So many objects are removed at once."""

_SAMPLES: Final = 100
"""So many manifests that a listing lacks are looked for, at most; mostly there is none."""


def keep_of(opened: OpenStudy, keep: Keep | None = None) -> Keep:
    """Return which checkpoints of a study are kept.

    Where it measures a champion, the one that will be the champion's may be of any trial.

    Args:
        opened: the study.
        keep: which ones are to be kept. Default: what the study says.
    """
    keep = opened.study.checkpoints.keep if keep is None else keep
    if keep.all or not is_measuring(opened.url):
        return keep
    return replace(keep, last=max(keep.last or 0, 1))


def collect(
    opened: OpenStudy,
    *,
    keep: Keep | None = None,
    older_than: float | None = None,
    keep_refs: Iterable[str] = (),
    dry_run: bool = False,
    go_on: Callable[[], bool] = lambda: True,
) -> Collection:
    """Remove the checkpoints of a study that are not needed and not to be kept.

    Args:
        opened: the study; all that its history has must be committed.
        keep: what is kept beside what is needed. Default: what the study says.
        older_than: seconds since it was written, after which what belongs to no checkpoint is
            removed. Default: an hour; 0 for a study that is finished and has nothing running.
        keep_refs: references or URIs of further checkpoints that must stay.
        dry_run: touch nothing, and say what would be removed.
        go_on: asked now and then; when it says no, the rest is left to another collection.

    Raises:
        SpecError: ``older_than`` is not safe, or one of ``keep_refs`` is no checkpoint, or one of
            this study that is not there.
        StorageError: the storage failed; what is there fits together.
    """
    collector = Collector(opened.store, keep_refs=keep_refs, dry_run=dry_run, go_on=go_on)
    needs = Needs.of(opened.history, keep_of(opened, keep))
    return collector.collect(needs, opened.journal.next_number, older_than)


class Collector:
    """Collects in the storage of one study, any number of times.

    Args:
        store: the study's store.
        keep_refs: see `collect`.
        dry_run: see `collect`.
        go_on: see `collect`.
        safe: the least age of what is removed while a segment may run, in seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep_refs: Iterable[str] = (),
        dry_run: bool = False,
        go_on: Callable[[], bool] = lambda: True,
        safe: float | None = None,
    ) -> None:
        self._store = store
        self._named = named(keep_refs)
        self._dry_run = dry_run
        self._go_on = go_on
        self._safe = COLLECT if safe is None else safe
        self._references = References(store)

    def collect(self, needs: Needs, next_entry: int, older_than: float | None = None) -> Collection:
        """Collect once.

        Args:
            needs: what the study needs, as some committed history has it.
            next_entry: the number of the first journal entry that is not in that history.
            older_than: see `tuneflow.collecting.collect`; so is what it raises.
        """
        age = self._age(needs, older_than)
        now = self._now()
        # In this order: whoever stores a manifest after it is listed relies on young blobs only.
        blobs = {key: stat for key, stat in self._store.stats("blobs").items() if is_blob(key)}
        objects = self._store.stats("trials")
        self._check_listing(needs, objects)
        require_there(self._named, self._store.url, objects)
        manifests = sort_out(objects, needs, self._spared(), now - age)
        done = self._remove_manifests(manifests, objects)
        if not done.is_complete or not self._references.read(objects, manifests.kept, self._go_on):
            return replace(done, is_complete=False)
        done = self._remove_blobs(done, blobs, now - age, next_entry if age < self._safe else None)
        # Staging files go by the clock of this machine.
        staged_for = max(age, self._safe) + time.time() - now
        staged = self._store.sweep(staged_for, dry_run=self._dry_run)
        return replace(done, staged=staged)

    def _age(self, needs: Needs, older_than: float | None) -> float:
        least = 0.0 if needs.is_over else self._safe
        if older_than is None:
            return least
        if older_than < least:
            raise SpecError(
                "--older-than",
                f"{older_than:g} seconds are not safe while the study is not finished, as what "
                "is that young may belong to a checkpoint that is being stored",
                f"give {least:g} seconds or more",
            )
        return older_than

    def _now(self) -> float:
        """Return the time by the storage's clock, or a little before."""
        if self._dry_run:
            return time.time()
        # It lies where a later collection finds it, if this one is killed.
        probe = f"blobs/probe-{uuid.uuid4().hex}"
        self._store.put(probe, b"probe")
        try:
            found = self._store.stat(probe)
        finally:
            with suppress(StorageError):
                self._store.delete([probe])
        if found is None:
            raise StorageError(f"{self._store.url}/{probe} is gone, and was just written")
        return found.modified

    def _check_listing(self, needs: Needs, objects: Mapping[str, Stat]) -> None:
        """Raise StorageError if manifests are there that the listing does not have.

        What they refer to would be taken for what nobody refers to.
        """
        missing = [ref for ref in needs.kept if ref not in objects and REF.fullmatch(ref)]
        for ref in missing[:: len(missing) // _SAMPLES + 1]:
            if self._store.exists(ref):
                raise StorageError(f"{self._store.url} does not list {ref}, which is there")

    def _spared(self) -> dict[str, str]:
        champions = dict.fromkeys(of_champions(self._store), "a champion refers to it")
        return champions | dict.fromkeys(self._named.values(), "it was asked for")

    def _remove_manifests(self, manifests: Manifests, objects: Mapping[str, Stat]) -> Collection:
        gone = [*manifests.superseded, *manifests.stray]
        count = self._remove(gone)
        superseded = manifests.superseded[:count]
        return Collection(
            self._store.url,
            self._dry_run,
            superseded=tuple(superseded),
            stray=tuple(manifests.stray[: count - len(superseded)]),
            kept=manifests.kept,
            manifest_bytes=sum(objects[ref].size for ref in gone[:count]),
            is_complete=count == len(gone),
        )

    def _remove_blobs(
        self, done: Collection, blobs: Mapping[str, Stat], before: float, next_entry: int | None
    ) -> Collection:
        """Remove what no manifest has.

        Args:
            done: what has become of the manifests.
            blobs: all that there are.
            before: what was written later stays.
            next_entry: if given, stop when there is such an entry in the journal.
        """
        idle = [key for key in sorted(blobs) if key not in self._references]
        old = self._unchanged([key for key in idle if blobs[key].modified <= before], blobs)
        count = self._remove(old, next_entry)
        waiting = [key for key in idle if blobs[key].modified > before]
        used = sum(stat.size for stat in blobs.values()) - sum(blobs[key].size for key in idle)
        return replace(
            done,
            blobs={key: blobs[key].size for key in old[:count]},
            waiting={key: blobs[key].size for key in waiting},
            kept_bytes=used,
            damaged=tuple(sorted(self._references.damaged)),
            is_complete=count == len(old),
        )

    def _unchanged(self, keys: Sequence[str], blobs: Mapping[str, Stat]) -> Sequence[str]:
        """Leave out what another collector has removed since, and a save perhaps stored again."""
        if self._dry_run or not keys:
            return keys
        there = self._store.stats("blobs")
        return [key for key in keys if there.get(key) == blobs[key]]

    def _remove(self, keys: Sequence[str], next_entry: int | None = None) -> int:
        """Remove objects, and return how many of them; the others when it was told to stop."""
        if self._dry_run:
            return len(keys)
        count = 0
        for batch in _batches(keys):
            if not self._go_on() or self._goes_on(next_entry):
                break
            self._store.delete(batch)
            count += len(batch)
        return count

    def _goes_on(self, next_entry: int | None) -> bool:
        """Whether somebody has gone on with the study, which was finished."""
        return next_entry is not None and self._store.exists(entry_path(next_entry))


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[first : first + _BATCH] for first in range(0, len(keys), _BATCH))
