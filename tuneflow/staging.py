"""Blobs of a store that is a folder: on the disk first, then named, all before the manifest.

A folder takes no requests, but its disk takes time. So a file is read once: while its bytes are
hashed they are written to a staging file, which is later named by the hash. The disk writes
meanwhile, and the names of all blobs are forced to it together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from tuneflow.errors import StorageError, TuneflowError
from tuneflow.in_flight import AT_ONCE
from tuneflow.local_files import stage, sync_folder
from tuneflow.patience import in_parallel, patiently, place_of
from tuneflow.store import Store
from tuneflow.store_errors import CAUGHT, explain
from tuneflow.store_urls import local_root

_BLOBS = "blobs"
_A = TypeVar("_A")


class Staging:
    """The blobs that one save writes. What has got no name at the end is removed.

    Args:
        url: the store's URL.
        root: its folder.
    """

    def __init__(self, url: str, root: Path) -> None:
        self._url = url
        self._root = root
        self._staged: set[Path] = set()
        self._folders = {root / _BLOBS}

    @classmethod
    def of(cls, store: Store) -> Staging | None:
        """Return the staging for a store that is a folder, None for another."""
        root = local_root(store.url)
        return None if root is None else cls(store.url, root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for staged in [*self._staged]:
            staged.unlink(missing_ok=True)

    def write(self, chunks: Iterable[bytes]) -> Path:
        """Return a file on the disk with these bytes, under no name yet."""
        staged = self._do(lambda: stage(self._root / _BLOBS, chunks))
        self._staged.add(staged)
        return staged

    def name(self, staged: Path, key: str) -> None:
        """Give a staged file its name, which counts after `settle`."""
        target = self._root / key
        self._do(lambda: _move(staged, target))
        self._staged.discard(staged)

    def settle(self, keys: Iterable[str]) -> None:
        """Force the names of blobs to the disk, whoever wrote them; return when they are there."""
        folders = {(self._root / key).parent for key in keys}
        if folders:
            in_parallel(
                lambda folder: self._do(lambda: sync_folder(folder)),
                folders | self._folders,
                AT_ONCE,
            )

    def _do(self, work: Callable[[], _A]) -> _A:
        with self._told():
            return patiently(place_of(self._url), work)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except TuneflowError:
            raise
        except CAUGHT as error:
            place = f"{self._url}/{_BLOBS}"
            raise StorageError(f"cannot write to {place}: {explain(error)}") from None


def _move(staged: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    staged.replace(target)
