"""Where a storage URL points, and how obstore opens it."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from obstore.store import LocalStore, MemoryStore, from_url

from tuneflow.errors import MissingDependencyError, SpecError

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ObjectStore, RetryConfig

SCHEMES: Final = ("file", "memory", "s3", "gs", "az")

# Short enough that a wrong endpoint is told within half a minute, long enough for a server to be
# restarted behind its load balancer.
RETRY: RetryConfig = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=3),
        "base": 2,
    },
}

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


def open_objects(url: str) -> tuple[ObjectStore, str]:
    """Open a normalised URL; return obstore's object and what goes before every key in it.

    Raises FileNotFoundError while the folder of a ``file://`` URL does not exist.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        prefix = unquote(parts.path).strip("/")
        return _memory.setdefault(parts.netloc, MemoryStore()), prefix and f"{prefix}/"
    root = local_root(url)
    if root is not None:
        if not root.exists():
            raise FileNotFoundError(root)
        return LocalStore(root), ""
    if parts.scheme == "s3":
        provider = _profile_credentials()
        return from_url(url, retry_config=RETRY, credential_provider=provider), ""
    return from_url(url, retry_config=RETRY), ""


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


def _profile_credentials() -> Boto3CredentialProvider | None:
    """Return what reads the AWS profile, which obstore does not; None where there is none."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    named = "AWS_PROFILE" in os.environ
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if not named and not file.exists():
        return None
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if named:
            raise MissingDependencyError("boto3", "s3") from None
        return None
    return Boto3CredentialProvider()
