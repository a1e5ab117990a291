"""What went wrong in a storage, in few words and without any secret."""

from __future__ import annotations

import errno
import re
from typing import Final

from obstore.exceptions import (
    BaseError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from tuneflow.errors import TuneflowError
from tuneflow.redaction import redacted

# What obstore raises. Its ValueError is for keys that it cannot parse.
CAUGHT: Final = (BaseError, OSError, ValueError)

_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
# What obstore's text contains, and what it means. obstore asks the metadata address when the
# environment has no credentials.
_METADATA: Final = (
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "metadata.google.internal",
    "/latest/api/token",
    "/latest/meta-data",
    "/computeMetadata/",
)
_CAUSES: Final = (
    (
        _METADATA,
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
# What passes by itself. The answers of a server that was asked too much, or is being repaired, and
# those to a request that was cut on its way; 409 is two requests for one key at a time.
_PASSING_STATUS: Final = frozenset({408, 409, 425, 429, *range(500, 600)} - {501, 505, 507})
_PASSING_CODES: Final = frozenset(
    {
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
    }
)
_PASSING_WORDS: Final = (
    "error sending request",
    "request or response body error",
    "error decoding response body",
    "connection closed before message completed",
    "kind: Connect",
    "kind: Timeout",
    "kind: Interrupted",
)
_LASTING_WORDS: Final = ("BadScheme", "builder error", "invalid peer certificate", "UnknownIssuer")
# A server of a network file system is away, or was, so that a handle is no longer good. Not EIO,
# which a broken disk answers with, too.
_PASSING_ERRNO: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EREMOTEIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_CLAUSE: Final = "the disk is full; free some space and resume: nothing stored is lost"

_ERRNO = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status(?: code)?: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")


class AlreadyExists(TuneflowError):  # noqa: N818
    """The storage holds another object under this key, so nothing was written."""


class NotFound(TuneflowError):  # noqa: N818
    """The storage holds no object under this key."""


class UnsettledError(GenericError):
    """The storage says both that an object exists and that it does not.

    Args:
        passing: whether it may be of one mind a little later.
    """

    def __init__(self, *, passing: bool) -> None:
        super().__init__("the storage says both that it exists and that it does not")
        self.passing = passing


def is_missing_bucket(error: Exception) -> bool:
    """Say whether the bucket is absent, rather than an object in it."""
    return any(word in str(error) for word in _NO_BUCKET)


def is_unsupported(error: Exception) -> bool:
    """Say whether the storage does not know the operation, as some do not know create-only."""
    return bool(re.search(r"NotImplemented|NotSupported|status(?: code)?: 501", str(error)))


def is_transient(error: Exception) -> bool:
    """Say whether an operation may succeed if it is tried again a little later."""
    if isinstance(error, UnsettledError):
        return error.passing
    if isinstance(error, OSError):
        return error.errno in _PASSING_ERRNO
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | ValueError):
        return False
    return _is_passing(str(error))


def _is_passing(text: str) -> bool:
    if "LocalFileSystem" in text:
        return _errno(text) in _PASSING_ERRNO
    code, status = _CODE.search(text), _STATUS.search(text)
    if code and code.group(1) in _PASSING_CODES:
        return True
    if status:
        return int(status.group(1)) in _PASSING_STATUS
    is_lasting = any(word in text for word in _LASTING_WORDS)
    return not is_lasting and any(word in text for word in _PASSING_WORDS)


def is_without_credentials(error: Exception) -> bool:
    """Say whether credentials were looked for, and the place that has them did not answer."""
    return any(word in str(error) for word in _METADATA)


def explain(error: Exception) -> str:
    """Return the cause as a short clause."""
    if _errno(str(error)) in _FULL or (isinstance(error, OSError) and error.errno in _FULL):
        return _FULL_CLAUSE
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error)
    for words, clause in _CAUSES:
        if any(word in text for word in words):
            return clause
    answer = _answer(text)
    is_refused = answer.startswith((" (401", " (403"))
    if is_refused or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"the credentials were refused or lack the permission{answer}"
    return f"the storage answered{answer}" if answer else _first_line(text)


def _errno(text: str) -> int:
    """Return the number of the system's error in a text of obstore's, or 0."""
    found = _ERRNO.search(text)
    return int(found.group(1)) if found else 0


def _answer(text: str) -> str:
    """Return the status and the code of the server's answer, never its body: it echoes keys."""
    found = [match.group(1) for match in (_STATUS.search(text), _CODE.search(text)) if match]
    return f" ({' '.join(found)})" if found else ""


def _first_line(text: str) -> str:
    line = text.partition("\n")[0].rpartition(" - ")[2]
    line = re.sub(r"\?\S+", "", line)
    return redacted(line)[:200]
