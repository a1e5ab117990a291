"""The journal: one object per commit, created once, never changed.

Entry n is the object ``journal/<n>.jsonl``. It is created with a conditional write, so of two
writers that want the same number one wins, and the other learns of it. Its lines are a header,
one fact each, and a checksum of the lines before it, so that a torn or altered entry is found.

Every 256 entries or so the journal packs them into one object under ``snapshots/``. A snapshot
is a cache: it makes opening a study cost a few requests, and may be deleted at any time.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tuneflow.errors import CorruptError, StorageError, StudyConflictError
from tuneflow.events import Fact, decode, encode
from tuneflow.jsonio import dumps, loads
from tuneflow.store import AlreadyExists, Store

SNAPSHOT_EVERY = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit.

    Attributes:
        number: 0, 1, 2, …
        facts: what it says, in order.
        round: the round it opens, or None for a streaming driver's entry.
        nonce: what tells a streaming writer's entry from another's; rounds have none, because
            whoever writes a round's entry writes the same bytes.
    """

    number: int
    facts: tuple[Fact, ...]
    round: int | None = None
    nonce: str | None = None

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        header: dict[str, Any] = {"entry": self.number, "format": 1}
        if self.round is not None:
            header["round"] = self.round
        if self.nonce is not None:
            header["nonce"] = self.nonce
        lines = [dumps(header), *map(encode, self.facts)]
        body = "".join(f"{line}\n" for line in lines).encode()
        return body + _checksum(body)

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Entry:
        """Read what `to_bytes` wrote. Raises CorruptError, naming ``path``, for anything else."""
        body, _, trailer = data.removesuffix(b"\n").rpartition(b"\n")
        body += b"\n"
        if trailer + b"\n" != _checksum(body):
            raise CorruptError(f"{path} is torn or altered: its checksum does not match")
        first, *rest = body.splitlines()
        try:
            header = loads(first)
            if header["format"] != 1:
                raise CorruptError(f"{path} has format {header['format']}; this tuneflow reads 1")
            facts = tuple(map(decode, rest))
            return cls(header["entry"], facts, header.get("round"), header.get("nonce"))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{path} is not a journal entry: {error}") from error


def _checksum(body: bytes) -> bytes:
    return f'{{"check":"{zlib.crc32(body):08x}"}}\n'.encode()


def entry_path(number: int) -> str:
    """Return where an entry lies, relative to the study."""
    return f"journal/{number:020d}.jsonl"


def snapshot_path(last: int) -> str:
    """Return where the snapshot that ends with this entry lies, relative to the study."""
    return f"snapshots/{last:020d}.jsonl"


class Journal:
    """The journal of one study.

    Args:
        store: the study's own store.

    Attributes:
        next_number: the number that the next entry will have, as far as this journal has read.
        commits: how many entries this object has written.
        is_safe: whether the storage is known to honour create-only writes. If not, the first
            commit makes sure: a study may be gone on with where it was not begun.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._unpacked: list[bytes] = []
        self.next_number = 0
        self.commits = 0
        self.is_safe = False

    def read(self) -> list[Entry]:
        """Return the entries that were not read yet, in order.

        Raises CorruptError when one is torn, altered or missing.
        """
        entries = self._from_snapshots() if self.next_number == 0 else []
        start = self.next_number
        after = entry_path(start - 1) if start else ""
        listed = self._store.list("journal/", after)
        paths = [path for path in listed if path.endswith(".jsonl")]
        for path, data in zip(paths, self._store.get_many(paths), strict=True):
            if path != entry_path(self.next_number) or data is None:
                missing = entry_path(self.next_number)
                raise CorruptError(f"{self._store.url}/{missing} is missing, but {path} is there")
            entry = Entry.from_bytes(data, f"{self._store.url}/{path}")
            if entry.number != self.next_number:
                raise CorruptError(f"{self._store.url}/{path} holds entry {entry.number}")
            entries.append(entry)
            self._advance(data)
        return entries

    def append(self, facts: Iterable[Fact], *, round_number: int | None = None) -> Entry:
        """Commit facts as the next entry.

        Without ``round_number`` the entry gets a nonce. Raises StudyConflictError when the
        number is taken by other bytes: another driver is at work on this study; StorageError
        when the storage fails, or does not honour create-only writes.
        """
        if not self.is_safe:
            self._store.check_commits()
            self.is_safe = True
        nonce = uuid.uuid4().hex if round_number is None else None
        entry = Entry(self.next_number, tuple(facts), round_number, nonce)
        data = entry.to_bytes()
        try:
            self._store.create(entry_path(entry.number), data)
        except AlreadyExists:
            raise StudyConflictError(
                f"entry {entry.number} of {self._store.url} was written by another driver, "
                "which has taken the study over; this one stops"
            ) from None
        self._advance(data)
        self.commits += 1
        if len(self._unpacked) >= SNAPSHOT_EVERY:
            with suppress(StorageError):  # it is a cache; the next append tries again
                self._pack()
        return entry

    def _advance(self, data: bytes) -> None:
        self._unpacked.append(data)
        self.next_number += 1

    def _pack(self) -> None:
        self._store.put(snapshot_path(self.next_number - 1), _SEPARATOR.join(self._unpacked))
        self._unpacked = []

    def _from_snapshots(self) -> list[Entry]:
        """Return the entries of the snapshots that are whole; the rest come one by one."""
        paths = self._store.list("snapshots/")
        entries: list[Entry] = []
        for path, data in zip(paths, self._store.get_many(paths), strict=True):
            entries += _unpack(data, path, len(entries))
        self.next_number = len(entries)
        return entries


_SEPARATOR = b"\n"


def _unpack(data: bytes | None, path: str, first: int) -> Sequence[Entry]:
    """Return a snapshot's entries; none when they do not go on from entry ``first``."""
    parts = (data or b"").split(b"\n" + _SEPARATOR)
    try:
        entries = [Entry.from_bytes(part, path) for part in parts]
    except CorruptError:
        return []
    numbers = [entry.number for entry in entries]
    return entries if numbers == list(range(first, first + len(entries))) else []
