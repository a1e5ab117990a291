"""How obstore opens a storage: with which credentials, and how long it waits for an answer.

Credentials and endpoints come from the environment variables that obstore reads, from the AWS
profile if boto3 is installed, and from `tuneflow.credentials`, which comes before both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from obstore.store import LocalStore, from_url

from tuneflow.credentials import KINDS, Provided, provided_for
from tuneflow.errors import MissingDependencyError, StorageError
from tuneflow.store_urls import local_root, memory_root

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

# A storage that has taken a request and says nothing is asked again after so long. The time for
# sending a large body counts, too, so there it is longer.
_SILENCE: Final = timedelta(seconds=30)
_SILENCE_TO_PARTS: Final = timedelta(seconds=120)
# For a whole request, however it trickles.
_LONGEST: Final = timedelta(minutes=20)

# Tried again by `tuneflow.patience`, which Ctrl-C can end.
_NO_RETRY: Final[RetryConfig] = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}

_PART_SECONDS: Final = 90.0
"""Seconds that one part of a larger upload is tried for, before the whole is begun anew."""

_SWITCHES: Final = ("allow_http", "allow_invalid_certificates")
_CLIENT: Final = (*_SWITCHES, "connect_timeout", "read_timeout", "timeout", "proxy_url")
_YES: Final = frozenset({"1", "true", "on", "yes", "y"})

_S3_KEYS: Final = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
}
_AZURE_KEYS: Final = {
    "access_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
}
# What obstore takes from the environment before an option that was provided, or not beside it.
_COME_BEFORE: Final = {
    "AZURE_STORAGE_CLIENT_SECRET": (
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_MASTER_KEY",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
    "GOOGLE_SERVICE_ACCOUNT_KEY": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
    "GOOGLE_SERVICE_ACCOUNT": ("GOOGLE_SERVICE_ACCOUNT_KEY",),
}


def open_objects(url: str, *, part_seconds: float | None = None) -> tuple[ObjectStore, str]:
    """Open a normalised URL; return obstore's object and what goes before every key in it.

    Args:
        url: as `tuneflow.store_urls.normalise` returns it.
        part_seconds: for sending large bodies: how long obstore itself is to try each of the
            requests that a body is sent in, at most 90 s.

    Raises:
        FileNotFoundError: the folder of a ``file://`` URL does not exist.
        MissingDependencyError: the environment names an AWS profile, and boto3 is missing.
        StorageError: there is no such profile.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        return memory_root(url)
    root = local_root(url)
    if root is None:
        return _open_remote(url, scheme, part_seconds), ""
    if not root.exists():
        raise FileNotFoundError(root)
    return LocalStore(root), ""


def _open_remote(url: str, scheme: str, part_seconds: float | None) -> ObjectStore:
    provided = provided_for(url)
    options = provided.options if provided else {}
    kind = KINDS[scheme]
    provider = _given_provider(scheme, provided) if provided else None
    if provider is None:
        _refuse_others(url, options)
    if provider is None and scheme == "s3":
        provider = _profile_credentials()
    config: Any = {
        name.lower(): value
        for name, value in options.items()
        if name.removeprefix(kind).lower() not in _CLIENT
    }
    client: Any = _client_options(kind, options, for_parts=part_seconds is not None)
    retry = _NO_RETRY if part_seconds is None else _part_retry(part_seconds)
    return from_url(
        url,
        config=config,
        client_options=client,
        retry_config=retry,
        credential_provider=provider,
    )


def _client_options(kind: str, options: Mapping[str, str], *, for_parts: bool) -> dict[str, Any]:
    """Return obstore's client options, which it does not take from the environment beside ours."""
    found: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=5),
        "read_timeout": _SILENCE_TO_PARTS if for_parts else _SILENCE,
        "timeout": _LONGEST,
    }
    for name in _CLIENT:
        variable = f"{kind}{name.upper()}"
        value = options.get(variable) or os.environ.get(variable)
        if value:
            found[name] = value.lower() in _YES if name in _SWITCHES else value
    return found


def _part_retry(seconds: float) -> RetryConfig:
    seconds = min(seconds, _PART_SECONDS)
    return {
        "max_retries": 1000 if seconds else 0,
        "retry_timeout": timedelta(seconds=seconds),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=3),
            "base": 2,
        },
    }


def _refuse_others(url: str, options: Mapping[str, str]) -> None:
    """Raise StorageError if the environment has credentials that would be taken instead."""
    for given in options:
        for name in _COME_BEFORE.get(given, ()):
            if name not in options and os.environ.get(name):
                raise StorageError(
                    f"cannot open {url} with the credentials that were provided: {name} of the "
                    f"environment would come before its {given}; unset it"
                )


def _given_provider(scheme: str, provided: Provided) -> Callable[[], Any] | None:
    """Return what answers with the keys that were provided, and with none of the environment's."""
    if provided.refresh is not None:
        return provided.refresh
    options = provided.options
    if scheme == "s3" and "AWS_ACCESS_KEY_ID" in options:
        keys: dict[str, Any] = {key: options.get(name) for key, name in _S3_KEYS.items()}
        return lambda: {**keys, "expires_at": None}
    if scheme == "az":
        for key, name in _AZURE_KEYS.items():
            if name in options:
                found = {key: options[name], "expires_at": None}
                return lambda: found
    return None


def _profile_credentials() -> Callable[[], Any] | None:
    """Return what reads the AWS profile, which obstore does not; None where there is none."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    named = "AWS_PROFILE" in os.environ
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if not named and not file.exists():
        return None
    try:
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # no types
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if named:
            raise MissingDependencyError("boto3", "s3") from None
        return None
    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError) as error:
        profile = os.environ.get("AWS_PROFILE", "default")
        raise StorageError(f"the AWS profile {profile!r} has no credentials: {error}") from None
