"""Credentials that somebody hands to this process, for the storages below a URL.

Most processes need none of this: storages find credentials in the environment, see
`tuneflow.store_urls`. An orchestrator keeps them elsewhere, in a connection or a block, and
provides them here. They stay in the memory of the process: they are not pickled with a store, not
put into the environment where user code would see them, and hidden from all that is logged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from tuneflow.errors import SpecError
from tuneflow.redaction import hide, is_secret_name

KINDS: Final = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""What the names of options begin with, for each kind of storage that has any."""

_PAIR: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

Refresh: TypeAlias = Callable[[], Mapping[str, Any]]
"""Returns credentials that hold for a while, in the form of obstore's credential providers."""


class _Latest:
    """Asks the one that was provided last: a store goes on asking what it was opened with."""

    def __init__(self, refresh: Refresh) -> None:
        self.refresh = refresh

    def __call__(self) -> Mapping[str, Any]:
        return self.refresh()

    def __getattr__(self, name: str) -> Any:
        # obstore looks for a ``config`` with the region of a profile.
        return getattr(self.__dict__["refresh"], name)


@dataclass(frozen=True)
class Provided:
    """What storages are opened with.

    Attributes:
        options: named like environment variables, such as ``AWS_ACCESS_KEY_ID``.
        refresh: where the credentials change with time, what returns those of now; or None.
    """

    options: Mapping[str, str] = field(repr=False)
    refresh: Refresh | None = field(default=None, repr=False, compare=False)


class _Known:
    """What was provided in this process, by URL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_prefix: dict[str, Provided] = {}
        self.version = 0

    def set(self, prefix: str, provided: Provided | None) -> None:
        with self._lock:
            known = self._by_prefix.get(prefix)
            if known == provided and _is_refreshed(known) == _is_refreshed(provided):
                # What is open asks again by itself, as soon as what it has expires.
                _ask_instead(known, provided)
                return
            if provided is None:
                del self._by_prefix[prefix]
            else:
                self._by_prefix[prefix] = provided
            self.version += 1

    def get(self, url: str) -> Provided | None:
        with self._lock:
            above = [prefix for prefix in self._by_prefix if f"{url}/".startswith(f"{prefix}/")]
            return self._by_prefix[max(above, key=len)] if above else None

    def changed(self) -> None:
        with self._lock:
            self.version += 1


_known = _Known()


def provide(prefix: str, options: Mapping[str, str], refresh: Refresh | None = None) -> None:
    """Open the storages at a URL, and below it, with these credentials from now on.

    They take the place of all credentials that the environment has for storages of this kind. What
    was provided before for the same URL is replaced, also for stores that are open. Safe from any
    thread.

    Args:
        prefix: a URL as `tuneflow.store.Store.url` has it, such as ``s3://bucket/studies``.
        options: named like the environment variables that storages know; see
            docs/storage.md.
        refresh: for credentials that expire: returns those of now, as obstore's credential
            providers do (``access_key_id``, ``secret_access_key``, ``token`` and ``expires_at`` for
            S3; ``token`` and ``expires_at`` for the others). Called from any thread.

    Raises SpecError, which does not repeat the value, for an option that such a storage has not,
    and for half of a key.
    """
    kind = _kind(prefix)
    for name, value in options.items():
        if not name.startswith(kind):
            problem = f"{prefix} is not opened with this option"
            raise SpecError(f"credentials.{name}", problem, f"use {kind}…")
        if not value:
            raise SpecError(f"credentials.{name}", "its value is empty")
    _check_pair(options)
    hide(value for name, value in options.items() if is_secret_name(name))
    latest = None if refresh is None else _Latest(refresh)
    _known.set(prefix.rstrip("/"), Provided(dict(options), latest))


def withdraw(prefix: str) -> None:
    """Forget what was provided for a URL; the environment counts again."""
    prefix = prefix.rstrip("/")
    if prefix in _known._by_prefix:
        _known.set(prefix, None)


def provided_for(url: str) -> Provided | None:
    """Return what was provided for the longest URL that this one lies at or below, or None."""
    return _known.get(url)


def changed() -> None:
    """Have every store open anew: the environment has other credentials than before."""
    _known.changed()


def version() -> int:
    """Return a number that is another one after each change of credentials."""
    return _known.version


def azure_connection_string(text: str) -> dict[str, str]:
    """Return what a connection string of Azure's says, as `provide` takes it."""
    pairs = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    account, suffix = pairs.get("AccountName", ""), pairs.get("EndpointSuffix", "")
    endpoint = pairs.get("BlobEndpoint", "").rstrip("/")
    if account and suffix and not endpoint:
        # Of a national cloud, or the usual one.
        endpoint = f"{pairs.get('DefaultEndpointsProtocol', 'https')}://{account}.blob.{suffix}"
    found = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_ACCOUNT_KEY": pairs.get("AccountKey", ""),
        "AZURE_STORAGE_SAS_TOKEN": pairs.get("SharedAccessSignature", "").removeprefix("?"),
        "AZURE_STORAGE_ENDPOINT": endpoint,
        "AZURE_ALLOW_HTTP": "true" if endpoint.startswith("http://") else "",
    }
    return {name: value for name, value in found.items() if value}


def _check_pair(options: Mapping[str, str]) -> None:
    """Refuse half of a key, beside which the environment's would be taken."""
    for name, other in (_PAIR, _PAIR[::-1]):
        if name in options and other not in options:
            raise SpecError(f"credentials.{other}", f"it is missing beside {name}", "give both")


def _ask_instead(known: Provided | None, newer: Provided | None) -> None:
    old, new = known and known.refresh, newer and newer.refresh
    if isinstance(old, _Latest) and isinstance(new, _Latest):
        old.refresh = new.refresh


def _is_refreshed(provided: Provided | None) -> bool:
    return provided is not None and provided.refresh is not None


def _kind(prefix: str) -> str:
    scheme = prefix.partition("://")[0]
    if scheme not in KINDS:
        raise SpecError("storage", f"{prefix} needs no credentials", "provide none for it")
    return KINDS[scheme]
