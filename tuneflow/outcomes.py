"""Outcomes as the driver sees them: each segment has exactly one, and it is in the store."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from tuneflow.errors import CorruptError
from tuneflow.jsonio import dumps, loads
from tuneflow.store import AlreadyExists, Store
from tuneflow.trial import Failure, Outcome, Segment, outcome_path


def outcome_bytes(outcome: Outcome) -> bytes:
    """Return the stored form of an outcome: its JSON with a checksum."""
    content = outcome.to_json()
    return dumps({**content, "check": _checksum(content)}).encode()


def read_outcome(data: bytes, path: str) -> Outcome:
    """Parse an outcome object. Raises CorruptError, naming ``path``."""
    try:
        return Outcome.from_json(_checked(loads(data), data))
    except (AttributeError, RecursionError, TypeError, ValueError, CorruptError) as error:
        raise CorruptError(
            f"{path} is torn or altered and no outcome of a segment: {error}; remove it, and the "
            "segment is run again from its newest checkpoint"
        ) from error


def _checked(content: dict[str, Any], data: bytes) -> dict[str, Any]:
    """Return what is stored without its checksum, which those of earlier versions lack."""
    # A digit more than a float has would be overlooked without the comparison of the bytes.
    is_whole = "check" not in content or dumps(content).encode() == data
    check = content.pop("check", None)
    if not is_whole or (check is not None and check != _checksum(content)):
        raise CorruptError("its checksum does not match")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(dumps(content).encode()):08x}"


def stored_outcomes(store: Store, keys: Iterable[tuple[int, int]]) -> list[Outcome]:
    """Return the outcomes that there are of some segments, in the order of the keys."""
    paths = [outcome_path(*key) for key in keys]
    return [
        read_outcome(data, f"{store.url}/{path}")
        for path, data in zip(paths, store.get_many(paths), strict=True)
        if data is not None
    ]


def write_outcome(store: Store, outcome: Outcome) -> Outcome:
    """Store an outcome unless the segment has one; return the one that counts."""
    path = outcome_path(outcome.trial, outcome.segment)
    try:
        store.create(path, outcome_bytes(outcome))
    except AlreadyExists:
        return read_outcome(store.get(path), f"{store.url}/{path}")
    return outcome


def settle(store: Store, outcome: Outcome, *, is_stored: bool = True) -> Outcome:
    """Return the outcome that counts for a segment that an executor says has ended.

    A worker stores its outcome before it says so. A segment that is lost, or was stopped before it
    began, has nobody to store one, so that is done here: from then on a zombie that comes back
    cannot make it count after all.
    """
    is_nobodys = outcome.status == "lost" or not outcome.ended
    return write_outcome(store, outcome) if is_nobodys or not is_stored else outcome


def missing(segment: Segment) -> Outcome:
    """Return the outcome of a segment whose worker left none."""
    failure = Failure("lost", "its worker left no outcome")
    return Outcome(segment.trial, segment.segment, "lost", failure=failure)
