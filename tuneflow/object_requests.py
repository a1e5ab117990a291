"""One try of each thing that is done to a storage. What fails raises what obstore raises."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError

from tuneflow import credentials
from tuneflow.large_objects import CHUNK, begun, read_file, send
from tuneflow.local_files import publish, settle
from tuneflow.patience import patience
from tuneflow.store_clients import open_objects
from tuneflow.store_errors import is_missing_bucket
from tuneflow.store_urls import local_root

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore
    from typing_extensions import Buffer

# A longer body takes a while to be sent.
_SMALL: Final = 1 << 18


class Requests:
    """What `tuneflow.store.Store` is made of; it adds patience, and one kind of error.

    Args:
        url: as `tuneflow.store_urls.normalise` returns it.

    Attributes:
        url: as given.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = local_root(url)
        self._opened: dict[bool, tuple[int, ObjectStore, str]] = {}

    def _open(self, *, for_parts: bool = False) -> tuple[ObjectStore, str]:
        """Return what obstore has opened, anew where the credentials have changed."""
        version, objects, prefix = self._opened.get(for_parts, (-1, None, ""))
        if objects is None or version != credentials.version():
            version = credentials.version()
            objects, prefix = open_objects(self.url, part_seconds=patience() if for_parts else None)
            self._opened[for_parts] = version, objects, prefix
        return objects, prefix

    def _is_taken(self, path: str, data: bytes) -> bool:
        try:
            self._put_new(path, data)
        except AlreadyExistsError:
            return True
        return False

    def _put_new(self, path: str, data: bytes) -> None:
        """Store an object only if there is none. Raises what obstore raises."""
        if self._root is None:
            objects, prefix = self._open(for_parts=len(data) > _SMALL)
            obstore.put(objects, prefix + path, data, mode="create")
        elif not publish(self._root / path, [data]):
            raise AlreadyExistsError(path)

    def _settle(self, path: str) -> None:
        """Make sure that an object of our own, which was found, is there to stay."""
        if self._root is not None:
            settle(self._root / path)

    def _put(self, path: str, data: bytes) -> None:
        objects, prefix = self._open(for_parts=len(data) > _SMALL)
        obstore.put(objects, prefix + path, data, use_multipart=False)

    def _upload_once(self, path: str, chunks: Iterable[bytes], size: int) -> None:
        if self._root is not None:
            publish(self._root / path, chunks, replace=True)
        else:
            objects, prefix = self._open(for_parts=True)
            send(objects, prefix + path, chunks, size)

    def _read(self, path: str) -> bytes:
        objects, prefix = self._open()
        return obstore.get(objects, prefix + path).bytes().to_bytes()

    def _peek(self, path: str) -> bytes | None:
        try:
            return self._read(path)
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise
            return None

    def _head(self, path: str) -> ObjectMeta:
        objects, prefix = self._open()
        return obstore.head(objects, prefix + path)

    def _begin(self, path: str, start: int, end: int) -> Iterator[Buffer]:
        if self._root is not None:
            return begun(read_file(self._root / path, start, end))
        objects, prefix = self._open()
        answer = obstore.get(objects, prefix + path, options={"range": (start, end)})
        return begun(answer.stream(min_chunk_size=CHUNK))

    def _list(self, folder: str, after: str) -> builtins.list[tuple[str, ObjectMeta]]:
        objects, root = self._open()
        offset = root + after if after else None
        pages = obstore.list(objects, root + folder or None, offset=offset, chunk_size=1000)
        return [(entry["path"].removeprefix(root), entry) for page in pages for entry in page]

    def _delete(self, paths: Sequence[str]) -> None:
        objects, prefix = self._open()
        keys = [prefix + path for path in paths]
        try:
            obstore.delete(objects, keys)
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise
            for key in keys:
                with suppress(FileNotFoundError):
                    obstore.delete(objects, key)
