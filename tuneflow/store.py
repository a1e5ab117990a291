"""Objects in a storage that is named by a URL: a folder, memory, S3, GCS or Azure.

Credentials and endpoints come from the environment variables that obstore reads. For S3 these are
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``,
``AWS_ENDPOINT_URL`` for another server than Amazon's, and ``AWS_ALLOW_HTTP=true`` if that server
speaks plain HTTP; ``AWS_PROFILE`` and ``~/.aws/credentials`` work when boto3 is installed. For GCS
``GOOGLE_APPLICATION_CREDENTIALS``, for Azure ``AZURE_STORAGE_ACCOUNT_NAME`` and
``AZURE_STORAGE_ACCOUNT_KEY``. docs/storage.md has the others, and what is retried and refused.

A storage that fails for a while is waited for: see `tuneflow.patience`.

A killed upload may leave parts in a bucket that no list shows: give the bucket a lifecycle rule
that drops incomplete multipart uploads. In a folder it leaves a staging file, which `Store.probe`
removes after a day.
"""

from __future__ import annotations

import builtins
import os
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote

from obstore.exceptions import AlreadyExistsError, GenericError

from tuneflow.errors import StorageError, TuneflowError
from tuneflow.large_objects import PART, Chunks, Stat, fetch, read_chunks
from tuneflow.local_files import publish, sweep
from tuneflow.object_requests import Requests
from tuneflow.patience import in_parallel, patiently, place_of
from tuneflow.store_errors import (
    CAUGHT,
    AlreadyExists,
    NotFound,
    UnsettledError,
    explain,
    is_missing_bucket,
    is_transient,
    is_unsupported,
)
from tuneflow.store_urls import check_key, check_name, normalise

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from typing_extensions import Buffer

__all__ = ["AlreadyExists", "Chunks", "NotFound", "Stat", "Store", "read_chunks"]

_READERS: Final = 16
_ATTEMPTS: Final = 3
_ABANDONED: Final = 24 * 3600.0
_A = TypeVar("_A")


class Store(Requests):
    """A flat space of objects below a URL.

    Pickling a store keeps its URL alone: the process that unpickles it takes credentials from its
    own environment, and sees its own folders and memory. Opening touches nothing; the folder of a
    ``file://`` URL is made by the first write.

    Keys are names joined by ``/``. `SpecError` refuses those that would leave the root (``..``) or
    that some storage cannot hold. Every other failure is a `StorageError` with the URL and the
    cause. One that may pass by itself is one only when it has lasted for too long: 5 minutes, or as
    ``TUNEFLOW_STORAGE_PATIENCE`` says.

    Args:
        url: ``file:///folder``, a plain path, ``memory://name`` (shared by the whole process),
            ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``. Raises
            `SpecError` for anything else.

    Attributes:
        url: the URL, absolute and without a slash at its end.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        super().__init__(normalise(url))

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

    def expected(self) -> Self:
        """Return this store, which somebody else has used: wait for it from the first call on.

        A storage that has not answered this process yet is waited for 20 s only, for its address
        is likely to be wrong.
        """
        place_of(self.url).is_expected = True
        return self

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
            self._patiently(lambda: self._create_once(path, data))

    def add(self, path: str, data: bytes) -> bool:
        """Store an object only if there is none, and say so; what is there is not looked at.

        For objects that are named by their content. Not for commits: see `create`.
        """
        check_key(path)
        with self._errors("add", path):
            return not self._patiently(lambda: self._is_taken(path, data))

    def put(self, path: str, data: bytes) -> None:
        """Store an object, in place of one of the same name. For caches: not synced to the disk."""
        check_key(path)
        with self._errors("write", path):
            if self._root is not None:
                file = self._root / path
                self._patiently(lambda: publish(file, [data], replace=True, durable=False))
            else:
                self._patiently(lambda: self._put(path, data))

    def upload(self, path: str, chunks: Iterable[bytes], size: int) -> None:
        """Store what an iterable yields, in constant memory.

        Nothing becomes visible if ``chunks`` raises; its `TuneflowError` passes through.

        Args:
            path: the key; an object of the same name is replaced.
            chunks: the bytes. Where they can be gone through again, such as `Chunks`, all of it is
                sent anew when the storage was away for more than 90 s, or a disk for a moment; what
                an iterator has yielded cannot be.
            size: how many bytes to expect.
        """
        check_key(path)
        with self._errors("upload", path):
            if self._root is None and size <= PART:
                data = b"".join(chunks)
                self._patiently(lambda: self._put(path, data))
            elif isinstance(chunks, Iterator):
                self._upload_once(path, chunks, size)
            else:
                self._patiently(lambda: self._upload_once(path, chunks, size))

    def download(self, path: str, file: Path) -> None:
        """Fetch an object of any size into a file, which appears when it is complete.

        Large objects come in parts, several at once and each retried by itself. Raises `NotFound`.
        """
        check_key(path)
        part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.part")
        with self._reading("download", path):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                objects, prefix = self._open()
                fetch(objects, prefix + path, part, place_of(self.url))
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)

    def get(self, path: str) -> bytes:
        """Return an object's bytes. Raises `NotFound`."""
        check_key(path)
        with self._reading("read", path):
            return self._patiently(lambda: self._read(path))

    def get_many(self, paths: Sequence[str]) -> builtins.list[bytes | None]:
        """Return the bytes of many objects; None where there is none.

        They are fetched concurrently where that takes time.
        """
        # A thread takes longer to start than a file does to be read.
        if len(paths) < 2 or self._root is not None:
            return [self._stored(path) for path in paths]
        return in_parallel(self._stored, paths, min(_READERS, len(paths)))

    def exists(self, path: str) -> bool:
        """Say whether there is an object of this name."""
        return self.size(path) is not None

    def size(self, path: str) -> int | None:
        """Return an object's size in bytes, None if there is none."""
        found = self.stat(path)
        return found.size if found is not None else None

    def stat(self, path: str) -> Stat | None:
        """Return an object's size and when it was last written, None if there is none."""
        check_key(path)
        with suppress(NotFound), self._reading("look at", path):
            return self._patiently(lambda: Stat.of(self._head(path)))
        return None

    def stats(self, prefix: str = "") -> dict[str, Stat]:
        """Return the objects below a folder by their keys, in no order; see `list`."""
        return {key: Stat.of(entry) for key, entry in self._entries(prefix)}

    def stream(self, path: str, start: int, length: int) -> Iterator[Buffer]:
        """Yield some bytes of an object, about a megabyte at a time, fewer if it ends before.

        A stream that breaks is taken up where it broke. Raises `NotFound`, and maybe `StorageError`
        if the object ends before the first byte.

        Args:
            path: the key.
            start: the first byte.
            length: how many, at least 1.
        """
        check_key(path)
        position, end = start, start + length
        with self._reading("read", path):
            while position < end:
                done = position
                try:
                    for chunk in self._patiently(partial(self._begin, path, done, end)):
                        yield chunk
                        position += len(memoryview(chunk))
                except CAUGHT as error:
                    if position == done or not is_transient(error):
                        raise
                else:
                    return

    def list(self, prefix: str = "", after: str = "") -> builtins.list[str]:
        """Return the keys below a folder, sorted.

        Args:
            prefix: the folder, with or without a slash at its end: ``journal`` holds
                ``journal/7`` and not ``journals/7``. Empty means everything.
            after: leave out this key and those before it.
        """
        # Not every server knows the offset.
        return sorted(key for key, _ in self._entries(prefix, after) if key > after)

    def sweep(self, older_than: float, *, dry_run: bool = False) -> int:
        """Remove what killed writers left in a folder; return how many files that were.

        Args:
            older_than: seconds since the last write to them.
            dry_run: only count them.
        """
        return 0 if self._root is None else sweep(self._root, older_than, dry_run=dry_run)

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there count as removed."""
        for path in paths:
            check_key(path)
        with suppress(NotFound), self._reading("delete", paths[0] if paths else ""):
            self._patiently(lambda: self._delete(paths))

    def probe(self) -> None:
        """Make sure that a study can live here, and remove what killed processes left behind.

        Raises:
            StorageError: the storage cannot be written to or reached, refuses the credentials, or
                does not honour create-only writes, without which two drivers could both commit.
        """
        self._check("is not writable")
        if self._root is not None:
            sweep(self._root, _ABANDONED)

    def check_commits(self) -> None:
        """Make sure that create-only writes are honoured here, as they were when a study began.

        Folders and memory always do, as far as they can be written to. Raises StorageError.
        """
        if self._root is None and not self.url.startswith("memory:"):
            self._check("cannot be committed to")

    def _check(self, problem: str) -> None:
        try:
            self._patiently(self._try_commits)
        except CAUGHT as error:
            if is_unsupported(error):
                raise StorageError(_unsafe(self.url, "does not support")) from None
            raise StorageError(f"{self.url} {problem}: {explain(error)}") from None

    def _try_commits(self) -> None:
        path = f"probe-{uuid.uuid4().hex}"
        try:
            self._is_taken(path, b"first")
            honoured = self._is_taken(path, b"second") and self._read(path) == b"first"
        finally:
            with suppress(*CAUGHT):
                self._delete([path])
        if not honoured:
            raise StorageError(_unsafe(self.url, "ignores"))

    def _patiently(self, attempt: Callable[[], _A]) -> _A:
        return patiently(place_of(self.url), attempt)

    def _create_once(self, path: str, data: bytes) -> None:
        """Store an object, unless it is stored; raise if another one is."""
        for _ in range(_ATTEMPTS):
            try:
                return self._put_new(path, data)
            except AlreadyExistsError:
                stored = self._peek(path)
            except GenericError:
                # Its answer may be what was lost.
                stored = None
                with suppress(*CAUGHT):
                    stored = self._peek(path)
                if stored is None:
                    raise
            if stored == data:
                return self._settle(path)
            if stored is not None:
                raise AlreadyExists(f"{self.url}/{path} exists already") from None
        # A server may be busy with another request for this key; a folder may have its name.
        raise UnsettledError(passing=self._root is None)

    def _stored(self, path: str) -> bytes | None:
        try:
            return self.get(path)
        except NotFound:
            return None

    def _entries(self, prefix: str, after: str = "") -> builtins.list[tuple[str, ObjectMeta]]:
        """Return the objects below a folder, with their keys; the first may be too early."""
        folder = prefix.removesuffix("/")
        if folder:
            check_key(folder)
        with suppress(NotFound), self._reading("list", folder):
            return self._patiently(lambda: self._list(folder, after))
        return []

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


def _unsafe(url: str, verb: str) -> str:
    return (
        f"{url} is unsafe for commits: it {verb} create-only writes, so two drivers could "
        "overwrite each other; use a storage that honours If-None-Match"
    )
