"""Where a storage URL points."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from obstore.store import MemoryStore

from tuneflow.errors import SpecError

SCHEMES: Final = ("file", "memory", "s3", "gs", "az")

# Two letters or more, so that a drive letter is no scheme.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(/?)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# An empty name, '.', '..', a staging file's ending (obstore hides it), or a character that some
# storage cannot hold.
_BAD_KEY = re.compile(rf"(?:^|/)\.{{0,2}}(?:/|$)|#[0-9]+(?:/|$)|\\|{_CONTROL.pattern}")

_memory: dict[str, MemoryStore] = {}


def check_key(key: str, field: str = "key") -> None:
    """Raise `SpecError` for a key that cannot be stored everywhere, or that leaves its root."""
    if _BAD_KEY.search(key):
        raise SpecError(
            field,
            f"{key!r} cannot be stored under",
            "use names joined by '/', none of them empty, '.', '..' or ending like '#1', "
            "without backslashes and control characters",
        )


def check_name(name: str, field: str = "name") -> None:
    """Raise `SpecError` for a name that cannot be one level of a key."""
    if "/" in name:
        raise SpecError(field, f"{name!r} contains '/'", "choose a name without it")
    check_key(name, field)


def normalise(url: str | os.PathLike[str]) -> str:
    """Return the one spelling of a storage URL: absolute, percent-encoded, no slash at the end.

    A plain path is a folder of this machine. Raises `SpecError` for anything else that is not a
    URL of a scheme in `SCHEMES`, and for a URL that contains credentials.
    """
    text = os.fspath(url)
    if not text or _CONTROL.search(text):
        raise SpecError("storage", f"{text!r} is not a URL or path", "write for example ./results")
    found = _SCHEME.match(text)
    if found is None:
        return _file_url(Path(text).expanduser())
    scheme, slash = found.groups()
    if scheme not in SCHEMES or not slash:
        _refuse_scheme(text.split(":", maxsplit=1)[0])
    parts = urlsplit(text)
    _check_parts(parts)
    return _file_url(_local_path(parts)) if scheme == "file" else _object_url(parts)


def local_root(url: str) -> Path | None:
    """Return the folder of a normalised ``file://`` URL, None for the other schemes."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def memory_root(url: str) -> tuple[MemoryStore, str]:
    """Return the objects of a normalised ``memory://`` URL, and what goes before every key."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    return _memory.setdefault(parts.netloc, MemoryStore()), prefix and f"{prefix}/"


def _file_url(path: Path) -> str:
    absolute = path.resolve() if ".." in path.parts else path.absolute()
    if absolute.parent == absolute:
        raise SpecError("storage", "the root of the file system is no place for a study")
    return absolute.as_uri()


def _local_path(parts: SplitResult) -> Path:
    if parts.netloc not in {"", "localhost"}:
        raise SpecError(
            "storage", f"'{parts.geturl()}' names a host", "write file:///path with three slashes"
        )
    return Path(unquote(parts.path) or "/")


def _object_url(parts: SplitResult) -> str:
    place = parts.netloc or ("default" if parts.scheme == "memory" else "")
    if not place:
        raise SpecError(
            "storage", f"'{parts.geturl()}' names no bucket", f"write {parts.scheme}://BUCKET/NAME"
        )
    prefix = unquote(parts.path).removeprefix("/").removesuffix("/")
    if prefix:
        check_key(prefix, "storage")
    return f"{parts.scheme}://{place}/{quote(prefix)}".removesuffix("/")


def _check_parts(parts: SplitResult) -> None:
    if "@" in parts.netloc or parts.query:
        # The URL is not repeated here: it may hold a secret.
        raise SpecError(
            "storage",
            "the URL has a '?' or credentials in it",
            "put credentials into the environment",
        )
    if parts.fragment:
        raise SpecError("storage", f"'{parts.geturl()}' has a '#' in it", "write it as %23")


def _refuse_scheme(scheme: str) -> None:
    known = [f"{name}://" for name in SCHEMES]
    fix = f"write '{scheme}://'" if scheme in SCHEMES else f"use one of {', '.join(known)}"
    raise SpecError("storage", f"'{scheme}:' is no kind of storage", fix)
