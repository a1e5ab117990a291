"""How the parts of a checkpoint become blobs, and which blobs need not be stored again.

Beside every save a collector may run, which removes blobs that are older than an hour and that no
manifest refers to. So a save relies on a blob that it has not written only if

- the part is in a manifest that is kept: the last one that the trial's run saved or, before its
  first one, the one that it was restored from; this takes no request; or
- the blob is younger than `REUSE`, half of that hour. An older one, which may be removed at any
  moment, is never written again either: the same bytes get another key.

A key names the window of `REUSE` seconds in which its blob was first written. So what a collector
found old, and another one has removed already, is not written again under the same key either.

What lasts longer than `REUSE` is looked at again: see `Blobs.complete`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from blake3 import blake3

from tuneflow.checkpoint_parts import Span, changed
from tuneflow.in_flight import AT_ONCE, WRITES_AT_ONCE, Budget
from tuneflow.large_objects import Chunks, Stat
from tuneflow.manifest import Part
from tuneflow.patience import in_parallel
from tuneflow.staging import Staging
from tuneflow.storage_clock import StorageClock
from tuneflow.store import Store

REUSE: Final = 30 * 60.0
"""Seconds for which a blob that nobody may refer to can be relied on."""

# Sending so much takes about as long as asking whether it is there.
_SENT_UNASKED: Final = 1 << 20
# What is not larger is one request, and in memory at once.
_WHOLE: Final = 5 << 20

Content: TypeAlias = tuple[int, str]
"""Size and hash."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A span that was read.

    Attributes:
        span: where the bytes are.
        content: what they are.
        staged: a file of the store's that has them, and no name yet; or None.
    """

    span: Span
    content: Content
    staged: Path | None = None


class Blobs:
    """The blobs of one save.

    Args:
        store: the study's store.
        clock: the storage's time.
        kept: the parts that may be relied on without a question, by their content.
        staging: where a store that is a folder has its blobs written; None for another.
    """

    def __init__(
        self,
        store: Store,
        clock: StorageClock,
        kept: Mapping[Content, Part],
        staging: Staging | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._staging = staging
        self._threads = AT_ONCE if staging is None else min(AT_ONCE, WRITES_AT_ONCE)
        self._budget = Budget()
        self._parts: dict[Content, Part] = {}
        # Which span each content is sent from while all are read.
        self._sending: dict[Content, Span] = {}
        # Where the bytes of the parts are that are relied on and not kept.
        self._relied: dict[Part, Span] = {}

    def store(self, spans: Sequence[Span], unchanged: Collection[Span]) -> dict[Span, Part]:
        """Store what is not there yet; return the part that each span is.

        Args:
            spans: what is to be stored.
            unchanged: those of them that are likely to be there. They are looked at first.
        """
        readings = in_parallel(
            lambda span: self._read(span, span in unchanged), spans, self._threads
        )
        left = {one.content: one for one in readings if one.content not in self._parts}
        in_parallel(self._keep, [*left.values()], self._threads)
        return {reading.span: self._parts[reading.content] for reading in readings}

    def complete(self) -> dict[Part, Part]:
        """Store again what has been removed meanwhile; return what is now used in its place."""
        gone = self._gone()
        fresh = {part: _copy_of(part) for part in gone}
        in_parallel(lambda part: self._write(fresh[part], self._relied[part]), gone, self._threads)
        for part in gone:
            self._relied[fresh[part]] = self._relied.pop(part)
        return fresh

    def mend(self) -> None:
        """Store again, under their own keys, what was removed before the manifest was there."""
        while gone := self._gone():
            in_parallel(lambda part: self._write(part, self._relied[part]), gone, self._threads)

    def settle(self) -> None:
        """Return when a power cut can no longer take away what the manifest will refer to."""
        if self._staging is not None:
            self._staging.settle(part.key for part in self._relied)

    def _gone(self) -> list[Part]:
        parts = [*self._relied]
        stats = in_parallel(lambda part: self._store.stat(part.key), parts, self._threads)
        return [part for part, stat in zip(parts, stats, strict=True) if stat is None]

    def _read(self, span: Span, is_likely_there: bool) -> _Reading:
        """Read a span; what is small, and likely to be sent, is sent while it is in memory."""
        if self._staging is None and span.size <= _SENT_UNASKED and not is_likely_there:
            with self._budget.take(span.size):
                data = b"".join(span.read(_WHOLE))
                reading = _Reading(span, (span.size, blake3(data).hexdigest()))
                if self._sending.setdefault(reading.content, span) is span:
                    self._keep(reading, data)
            return reading
        hasher = blake3()
        chunks = Chunks(lambda: _hashed(span, hasher))
        staged = None
        if self._staging is not None and not is_likely_there:
            staged = self._staging.write(chunks)
        else:
            for _ in chunks:
                pass
        return _Reading(span, (span.size, hasher.hexdigest()), staged)

    def _keep(self, reading: _Reading, data: bytes | None = None) -> None:
        """Have a part with a reading's content, which is stored now if it was not."""
        part = self._kept.get(reading.content)
        if part is None:
            part = Part(*reading.content, copy=f"{self._clock.window(REUSE):016x}")
            there = self._store_new(part, reading, data)
            if there is not None and not self._is_reliable(part, there):
                part = _copy_of(part)
                if data is None:
                    self._write(part, reading.span, reading.staged)
                else:
                    self._store.add(part.key, data)
            self._relied[part] = reading.span
        self._parts[reading.content] = part

    def _store_new(self, part: Part, reading: _Reading, data: bytes | None) -> Stat | None:
        """Store a part under its usual key, unless something is there: then return what."""
        if data is not None:
            return self._send_new(part, data)
        if self._staging is None and part.size <= _SENT_UNASKED:
            with self._budget.take(part.size):
                return self._send_new(part, b"".join(_verified(reading.span, part)))
        there = self._store.stat(part.key)
        if there is None:
            self._write(part, reading.span, reading.staged)
        return there

    def _send_new(self, part: Part, data: bytes) -> Stat | None:
        is_stored = self._store.add(part.key, data)
        # What was there may be gone by now.
        return None if is_stored else self._store.stat(part.key) or Stat(0, 0.0)

    def _is_reliable(self, part: Part, there: Stat) -> bool:
        return there.size == part.size and self._clock.now() - there.modified < REUSE

    def _write(self, part: Part, span: Span, staged: Path | None = None) -> None:
        chunks = Chunks(lambda: _verified(span, part))
        if self._staging is not None:
            self._staging.name(staged or self._staging.write(chunks), part.key)
        else:
            with self._budget.take(part.size):
                self._store.upload(part.key, chunks, part.size)


def _copy_of(part: Part) -> Part:
    return Part(part.size, part.hash, secrets.token_hex(8))


def _hashed(span: Span, hasher: blake3) -> Iterator[bytes]:
    """Yield a span's bytes, and have their hash made from the beginning."""
    hasher.reset()
    for chunk in span.read():
        hasher.update(chunk)
        yield chunk


def _verified(span: Span, part: Part) -> Iterator[bytes]:
    """Yield a part's bytes; raise at the end if they are not those that were read before.

    An upload whose source raises leaves nothing behind, so no blob ever has a wrong name.
    """
    hasher = blake3()
    for chunk in span.read(_WHOLE if span.size <= _WHOLE else 1 << 20):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != part.hash:
        raise changed(span.file)
