"""Secrets of this process, and texts without them.

What a trial prints, or says when it fails, is stored where many can read it. So the values of
environment variables whose names say that they are secret, what was told to `hide`, and the
credentials in URLs are replaced by ``***`` in all of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MASK: Final = "***"
_SECRET_NAME: Final = re.compile(
    r"(SECRETS?|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|CONNECTION_STRING|APIKEY)(_|$)"
    r"|(API|ACCESS|ACCOUNT|PRIVATE|SECRET|ENCRYPTION|FERNET)_KEY(_|$)"
    r"|(_SAS|_PAT|_PWD|(DB|SMTP|MAIL|USER|ROOT|ADMIN)_PASS)(_|$)"
)
_PLACE: Final = re.compile(r"_(FILE|PATH|DIR)$")
# Shorter ones would be found in words that have nothing to do with them.
_SHORTEST: Final = 6
_URL_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s'\"<>]+(?=@)")

_hidden: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Say whether a name, such as that of an environment variable, is one of a secret.

    ``HF_TOKEN`` and ``AWS_SECRET_ACCESS_KEY`` are; ``MAX_TOKENS`` and ``TOKEN_FILE`` are not.
    """
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    upper = re.sub(r"[^A-Z0-9]+", "_", words.upper())
    return bool(_SECRET_NAME.search(upper)) and not _PLACE.search(upper)


def hide(values: Iterable[str]) -> None:
    """Treat these texts as secrets from now on, in this process."""
    _hidden.update(value for value in values if len(value) >= _SHORTEST)


def redacted(text: str) -> str:
    """Return a text with ``***`` in the place of every secret of this process."""
    for secret in _secrets():
        text = text.replace(secret, _MASK)
    return _URL_CREDENTIALS.sub(_MASK, text)


def redacted_bytes(data: bytes) -> bytes:
    """Return output, in whatever encoding, with ``***`` in the place of every secret."""
    for secret in _secrets():
        data = data.replace(os.fsencode(secret), _MASK.encode())
    found = _URL_CREDENTIALS.search(data.decode("latin-1"))
    if found is None:
        return data
    return _URL_CREDENTIALS.sub(_MASK, data.decode("latin-1")).encode("latin-1")


def _secrets() -> list[str]:
    """Return the secrets, the longest first: one may be a part of another."""
    named = (
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST and is_secret_name(name) and not _is_path(value)
    )
    return sorted({*named, *_hidden}, key=len, reverse=True)


def _is_path(value: str) -> bool:
    """Say whether a value only says where the secret lies."""
    return value.startswith("/") and Path(value).exists()
