"""Which blobs the manifests of a study refer to."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Collection, Mapping
from typing import Final

from tuneflow.errors import CheckpointCorruptError, StorageError
from tuneflow.manifest import Manifest
from tuneflow.store import Stat, Store

_BLOB: Final = re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{64})(?:-[0-9a-f]+)?|blobs/probe-[0-9a-f]+")
_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_AT_ONCE: Final = 256
"""So many manifests are read at once."""


def is_blob(key: str) -> bool:
    """Whether an object is one that tuneflow makes in the folder of blobs."""
    return _BLOB.fullmatch(key) is not None


class References:
    """The blobs that manifests refer to; contains keys.

    What was read once is not read again, as long as the storage says that it is the same.

    Args:
        store: the study's store.

    Attributes:
        damaged: the manifests that cannot be read. All blobs are spared whose hash is in one.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # Hashes of keys, as there may be millions. A key that has another one's is spared.
        self._known: dict[str, tuple[Stat, array[int]]] = {}
        self._all: set[int] = set()
        self._spared: set[str] = set()
        self.damaged: set[str] = set()

    def __contains__(self, key: str) -> bool:
        found = _BLOB.fullmatch(key)
        return hash(key) in self._all or (found is not None and found[1] in self._spared)

    def read(
        self, objects: Mapping[str, Stat], refs: Collection[str], go_on: Callable[[], bool]
    ) -> bool:
        """Read manifests; return whether that came to its end.

        Args:
            objects: what the storage says of them.
            refs: all that there are.
            go_on: asked now and then; when it says no, the rest is not read.

        Raises StorageError.
        """
        self._spared, self.damaged = set(), set()
        before, self._known = self._known, {}
        for ref in refs:
            if ref in before and before[ref][0] == objects[ref]:
                self._known[ref] = before[ref]
        unread = [ref for ref in refs if ref not in self._known]
        for first in range(0, len(unread), _AT_ONCE):
            if not go_on():
                return False
            some = unread[first : first + _AT_ONCE]
            for ref, data in zip(some, self._store.get_many(some), strict=True):
                self._take_in(ref, objects[ref], data)
        self._all = {key for _, keys in self._known.values() for key in keys}
        return True

    def _take_in(self, ref: str, stat: Stat, data: bytes | None) -> None:
        """Note what a manifest refers to; nothing if somebody else has removed it."""
        if data is None:
            if self._store.exists(ref):
                raise StorageError(f"{self._store.url} does not give {ref}, which is there")
            return
        try:
            keys = Manifest.from_bytes(data).blobs()
        except CheckpointCorruptError:
            self.damaged.add(ref)
            self._spared.update(found.decode() for found in _HASH.findall(data))
            return
        self._known[ref] = stat, array("q", map(hash, keys))
