"""What went wrong in a storage, in few words and without any secret."""

from __future__ import annotations

import os
import re
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from tuneflow.errors import TuneflowError

# What obstore raises. Its ValueError is for keys that it cannot parse.
CAUGHT: Final = (BaseError, OSError, ValueError)

_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
# What obstore's text contains, and what it means. obstore asks the metadata address when the
# environment has no credentials.
_CAUSES: Final = (
    (
        ("169.254.169.254", "169.254.170.2", "metadata.google.internal"),
        (
            "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3), "
            "GOOGLE_APPLICATION_CREDENTIALS (gs) or AZURE_STORAGE_ACCOUNT_KEY (az)"
        ),
    ),
    (_NO_BUCKET, "the bucket does not exist"),
    (("BadScheme",), "the endpoint is plain HTTP; set AWS_ALLOW_HTTP=true to permit that"),
    (
        ("error sending request", "kind: Connect", "kind: Timeout", "dns error"),
        "the storage cannot be reached",
    ),
)
_STATUS = re.compile(r"status(?: code)?: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|SAS")


class AlreadyExists(TuneflowError):  # noqa: N818
    """The storage holds another object under this key, so nothing was written."""


class NotFound(TuneflowError):  # noqa: N818
    """The storage holds no object under this key."""


def is_missing_bucket(error: Exception) -> bool:
    """Say whether the bucket is absent, rather than an object in it."""
    return any(word in str(error) for word in _NO_BUCKET)


def is_unsupported(error: Exception) -> bool:
    """Say whether the storage does not know the operation, as some do not know create-only."""
    return bool(re.search(r"NotImplemented|NotSupported|status(?: code)?: 501", str(error)))


def explain(error: Exception) -> str:
    """Return the cause as a short clause."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error)
    for words, clause in _CAUSES:
        if any(word in text for word in words):
            return clause
    answer = _answer(text)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"the credentials were refused or lack the permission{answer}"
    return f"the storage answered{answer}" if answer else _first_line(text)


def _answer(text: str) -> str:
    """Return the status and the code of the server's answer, never its body: it echoes keys."""
    found = [match.group(1) for match in (_STATUS.search(text), _CODE.search(text)) if match]
    return f" ({' '.join(found)})" if found else ""


def _first_line(text: str) -> str:
    line = text.partition("\n")[0].rpartition(" - ")[2]
    line = re.sub(r"\?\S+", "", line)
    for name, value in os.environ.items():
        if len(value) > 5 and _SECRET_NAME.search(name):
            line = line.replace(value, "***")
    return line[:200]
