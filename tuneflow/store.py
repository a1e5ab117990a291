"""Objects in a storage that is named by a URL: a folder, memory, S3, GCS or Azure.

Credentials and endpoints come from the environment variables that obstore reads. For S3 these are
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``,
``AWS_ENDPOINT_URL`` for another server than Amazon's, and ``AWS_ALLOW_HTTP=true`` if that server
speaks plain HTTP; ``AWS_PROFILE`` and ``~/.aws/credentials`` work when boto3 is installed. For GCS
``GOOGLE_APPLICATION_CREDENTIALS``, for Azure ``AZURE_STORAGE_ACCOUNT_NAME`` and
``AZURE_STORAGE_ACCOUNT_KEY``. A request that fails is tried again for about 20 seconds.

A killed upload may leave parts in a bucket that no list shows: give the bucket a lifecycle rule
that drops incomplete multipart uploads. In a folder it leaves a staging file, which `Store.probe`
removes after a day.
"""

from __future__ import annotations

import builtins
import os
import secrets
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError

from tuneflow.errors import StorageError, TuneflowError
from tuneflow.local_files import publish, sweep
from tuneflow.store_errors import (
    CAUGHT,
    AlreadyExists,
    NotFound,
    explain,
    is_missing_bucket,
    is_unsupported,
)
from tuneflow.store_urls import check_key, check_name, local_root, normalise, open_objects

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["AlreadyExists", "NotFound", "Store"]

_CHUNK: Final = 1 << 20
# The least that S3 takes as one part of a larger object.
_PART: Final = 5 << 20
# S3 takes at most 10,000 parts.
_MAX_PARTS: Final = 9_000
_PARTS_AT_ONCE: Final = 4
_READERS: Final = 16
_ATTEMPTS: Final = 3
_ABANDONED: Final = 24 * 3600.0


class Store:
    """A flat space of objects below a URL.

    Pickling a store keeps its URL alone: the process that unpickles it takes credentials from its
    own environment, and sees its own folders and memory. Opening touches nothing; the folder of a
    ``file://`` URL is made by the first write.

    Keys are names joined by ``/``. `SpecError` refuses those that would leave the root (``..``) or
    that some storage cannot hold. Every other failure is a `StorageError` with the URL and the
    cause.

    Args:
        url: ``file:///folder``, a plain path, ``memory://name`` (shared by the whole process),
            ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``. Raises
            `SpecError` for anything else.

    Attributes:
        url: the URL, absolute and without a slash at its end.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = normalise(url)
        self._root = local_root(self.url)
        self._opened: tuple[ObjectStore, str] | None = None

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return type(self), (self.url,)

    def child(self, name: str) -> Store:
        """Return the store one level below. Raises `SpecError` if ``name`` is not one level."""
        check_name(name)
        return type(self)(f"{self.url}/{quote(name)}")

    def create(self, path: str, data: bytes) -> None:
        """Store an object only if there is none of this name; the commit of everything here.

        Of any number of racing writers exactly one succeeds. On ``file://`` the object is on the
        disk when this returns. An answer that got lost is made good by reading back: if the bytes
        stored are ``data``, this call counts as the one that stored them.

        Raises:
            AlreadyExists: other bytes are stored under this name.
            StorageError: it is not known to be stored.
        """
        check_key(path)
        with self._errors("create", path):
            if any(self._create_once(path, data) for _ in range(_ATTEMPTS)):
                return
        raise StorageError(
            f"cannot create {self.url}/{path}: the storage says both that it exists and that it "
            "does not"
        )

    def put(self, path: str, data: bytes) -> None:
        """Store an object, in place of one of the same name. For caches: not synced to the disk."""
        check_key(path)
        with self._errors("write", path):
            if self._root is not None:
                publish(self._root / path, [data], replace=True, durable=False)
            else:
                self._put(path, data)

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> None:
        """Store what an iterable yields, in constant memory.

        Nothing becomes visible if ``chunks`` raises; its `TuneflowError` passes through.

        Args:
            path: the key; an object of the same name is replaced.
            chunks: the bytes.
            size: how many bytes to expect.
        """
        check_key(path)
        with self._errors("upload", path):
            if self._root is not None:
                publish(self._root / path, chunks, replace=True)
            elif size <= _PART:
                self._put(path, b"".join(chunks))
            else:
                self._put(path, iter(chunks), max(_PART, size // _MAX_PARTS))

    def download(self, path: str, file: Path) -> None:
        """Fetch an object of any size into a file, which appears when it is complete.

        Large objects come in parts, several at once and each retried by itself. Raises `NotFound`.
        """
        check_key(path)
        part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
        with self._reading("download", path):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._fetch(path, part)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)

    def get(self, path: str) -> bytes:
        """Return an object's bytes. Raises `NotFound`."""
        check_key(path)
        with self._reading("read", path):
            return self._read(path)

    def get_many(self, paths: Sequence[str]) -> builtins.list[bytes | None]:
        """Return the bytes of many objects; None where there is none.

        They are fetched concurrently where that takes time.
        """
        # A thread takes longer to start than a file does to be read.
        if len(paths) < 2 or self._root is not None:
            return [self._stored(path) for path in paths]
        with ThreadPoolExecutor(min(_READERS, len(paths))) as pool:
            return [*pool.map(self._stored, paths)]

    def exists(self, path: str) -> bool:
        """Say whether there is an object of this name."""
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        """Return an object's size in bytes, None if there is none."""
        check_key(path)
        with suppress(NotFound), self._reading("look at", path):
            objects, prefix = self._open()
            return obstore.head(objects, prefix + path)["size"]
        return None

    def list(self, prefix: str = "", after: str = "") -> builtins.list[str]:
        """Return the keys below a folder, sorted.

        Args:
            prefix: the folder, with or without a slash at its end: ``journal`` holds
                ``journal/7`` and not ``journals/7``. Empty means everything.
            after: leave out this key and those before it.
        """
        folder = prefix.removesuffix("/")
        if folder:
            check_key(folder)
        with suppress(NotFound), self._reading("list", folder):
            objects, root = self._open()
            offset = root + after if after else None
            pages = obstore.list(objects, root + folder or None, offset=offset, chunk_size=1000)
            keys = sorted(entry["path"].removeprefix(root) for page in pages for entry in page)
            # Not every server knows the offset.
            return [key for key in keys if key > after]
        return []

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there count as removed."""
        for path in paths:
            check_key(path)
        with suppress(NotFound), self._reading("delete", paths[0] if paths else ""):
            objects, prefix = self._open()
            keys = [prefix + path for path in paths]
            try:
                obstore.delete(objects, keys)
            except FileNotFoundError:
                for key in keys:
                    with suppress(FileNotFoundError):
                        obstore.delete(objects, key)

    def probe(self) -> None:
        """Make sure that a study can live here, and remove what killed processes left behind.

        Raises:
            StorageError: the storage cannot be written to or reached, refuses the credentials, or
                does not honour create-only writes, without which two drivers could both commit.
        """
        path = f"probe-{uuid.uuid4().hex}"
        try:
            self._check_commits(path)
        finally:
            with suppress(TuneflowError):
                self.delete([path])
        if self._root is not None:
            sweep(self._root, _ABANDONED)

    def _check_commits(self, path: str) -> None:
        try:
            self._is_taken(path, b"first")
            honoured = self._is_taken(path, b"second") and self._read(path) == b"first"
        except CAUGHT as error:
            if is_unsupported(error):
                raise StorageError(_unsafe(self.url, "does not support")) from None
            raise StorageError(f"{self.url} is not writable: {explain(error)}") from None
        if not honoured:
            raise StorageError(_unsafe(self.url, "ignores"))

    def _open(self) -> tuple[ObjectStore, str]:
        if self._opened is None:
            self._opened = open_objects(self.url)
        return self._opened

    def _create_once(self, path: str, data: bytes) -> bool:
        """Return whether ``data`` is stored; False if another try may store it."""
        try:
            self._put_new(path, data)
        except (AlreadyExistsError, GenericError) as error:
            stored = self._stored(path)
            if stored is None and isinstance(error, GenericError):
                raise
            if stored is not None and stored != data:
                raise AlreadyExists(f"{self.url}/{path} exists already") from None
            return stored == data
        return True

    def _is_taken(self, path: str, data: bytes) -> bool:
        try:
            self._put_new(path, data)
        except AlreadyExistsError:
            return True
        return False

    def _put_new(self, path: str, data: bytes) -> None:
        """Store an object only if there is none. Raises what obstore raises."""
        if self._root is None:
            objects, prefix = self._open()
            obstore.put(objects, prefix + path, data, mode="create")
        elif not publish(self._root / path, [data]):
            raise AlreadyExistsError(path)

    def _put(self, path: str, data: bytes | Iterator[bytes], part: int = _PART) -> None:
        objects, prefix = self._open()
        whole = isinstance(data, bytes)
        obstore.put(
            objects,
            prefix + path,
            data,
            use_multipart=not whole,
            chunk_size=part,
            max_concurrency=_PARTS_AT_ONCE,
        )

    def _read(self, path: str) -> bytes:
        objects, prefix = self._open()
        return obstore.get(objects, prefix + path).bytes().to_bytes()

    def _stored(self, path: str) -> bytes | None:
        try:
            return self.get(path)
        except NotFound:
            return None

    def _fetch(self, path: str, file: Path) -> None:
        objects, prefix = self._open()
        answer = obstore.get(objects, prefix + path)
        size = answer.meta["size"]
        if size <= _PART:
            file.write_bytes(answer.bytes())
            return
        starts = range(0, size, _PART)
        with file.open("wb") as target, ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:

            def fetch_part(start: int) -> None:
                length = min(_PART, size - start)
                data = obstore.get_range(objects, prefix + path, start=start, length=length)
                os.pwrite(target.fileno(), data, start)

            for _ in pool.map(fetch_part, starts):
                pass

    @contextmanager
    def _errors(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except TuneflowError:
            raise
        except CAUGHT as error:
            # Without the chain: obstore's own text may repeat the request with its secrets.
            place = f"{self.url}/{path}"
            raise StorageError(f"cannot {doing} {place}: {explain(error)}") from None

    @contextmanager
    def _reading(self, doing: str, path: str) -> Iterator[None]:
        with self._errors(doing, path):
            try:
                yield
            except FileNotFoundError as error:
                if is_missing_bucket(error):
                    raise
                raise NotFound(f"{self.url}/{path} does not exist") from None


def read_chunks(file: Path) -> Iterator[bytes]:
    """Yield a file's bytes, one megabyte at a time."""
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _unsafe(url: str, verb: str) -> str:
    return (
        f"{url} is unsafe for commits: it {verb} create-only writes, so two drivers could "
        "overwrite each other; use a storage that honours If-None-Match"
    )
