"""The manifest of a checkpoint: which files it has, and how to tell that they are intact."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from blake3 import blake3

from tuneflow.errors import CheckpointCorruptError, SpecError
from tuneflow.jsonio import dumps, loads

_VERSION: Final = 1
_HASH = re.compile(r"[0-9a-f]{64}")
# A part that is empty, '.' or '..', a drive letter, or a character that some system cannot hold.
_BAD_MEMBER = re.compile(
    r"(?:^|/)\.{0,2}(?:/|$)|^[A-Za-z]:|[\\\x00-\x1f\x7f\ud800-\udfff]",
)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a checkpoint.

    Attributes:
        path: where it goes below the checkpoint's folder, with ``/`` between the names.
        size: bytes.
        hash: blake3 of its bytes, 64 hexadecimal digits.
    """

    path: str
    size: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A checkpoint's files, and what the trial had reported when it was taken.

    Attributes:
        resource: the resource level of the checkpoint.
        files: its files, sorted by path.
        reports: JSON objects that mean nothing here.
    """

    resource: float
    files: tuple[FileEntry, ...]
    reports: tuple[dict[str, Any], ...] = ()

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON with a checksum. Equal manifests give equal bytes.

        Raises `SpecError` for a file path that leads outside, or reports that are not JSON.
        """
        for entry in self.files:
            if not is_member(entry.path):
                raise SpecError(
                    "checkpoint",
                    f"the file name {entry.path!r} cannot be kept on every system",
                    "rename the file",
                )
        content = {
            "version": _VERSION,
            "resource": self.resource,
            "files": [asdict(entry) for entry in self.files],
            "reports": list(self.reports),
        }
        try:
            return dumps({**content, "checksum": _checksum(content)}).encode()
        except (TypeError, ValueError) as error:
            raise SpecError("checkpoint", f"resource and reports must be JSON: {error}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return the manifest that `to_bytes` wrote.

        Raises `CheckpointCorruptError` if it is torn, altered, of a newer version, or names a file
        outside the checkpoint.
        """
        content = _parse(data)
        _require(content.pop("checksum", None) == _checksum(content), "is altered")
        version = content.get("version")
        _require(version == _VERSION, f"has version {version!r} instead of {_VERSION}")
        return _manifest(content)


def is_member(path: str) -> bool:
    """Say whether a file path stays inside its checkpoint, on every operating system."""
    return not _BAD_MEMBER.search(path)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        content = loads(data)
        # Every number and string of ours can be written again; those of a damaged file may not.
        dumps(content).encode()
    except (ValueError, RecursionError):
        content = None
    _require(isinstance(content, dict), "is not a JSON object; it may be torn")
    return dict(content)


def _checksum(content: dict[str, Any]) -> str:
    return blake3(dumps(content).encode()).hexdigest()


def _manifest(content: dict[str, Any]) -> Manifest:
    _require(
        content.keys() == {"version", "resource", "files", "reports"}, "has other fields than ours"
    )
    resource, files, reports = content["resource"], content["files"], content["reports"]
    _require(_is_number(resource), f"has the resource {resource!r}")
    _require(isinstance(files, list), "has files that are no list")
    _require(
        isinstance(reports, list) and all(isinstance(report, dict) for report in reports),
        "has reports that are no list of objects",
    )
    entries = tuple(_entry(value) for value in files)
    _require_apart([entry.path for entry in entries])
    return Manifest(resource, entries, tuple(reports))


def _entry(value: Any) -> FileEntry:
    _require(
        isinstance(value, dict) and value.keys() == {"path", "size", "hash"},
        f"has the file entry {value!r}",
    )
    path, size, digest = value["path"], value["size"], value["hash"]
    _require(isinstance(path, str) and is_member(path), f"names the hostile file {path!r}")
    _require(type(size) is int and size >= 0, f"gives {path} the size {size!r}")
    _require(
        isinstance(digest, str) and bool(_HASH.fullmatch(digest)),
        f"gives {path} the hash {digest!r}",
    )
    return FileEntry(path, size, digest)


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value)


def _require_apart(paths: list[str]) -> None:
    """Refuse a file twice, and a file where another one needs a folder."""
    taken = set(paths)
    _require(len(taken) == len(paths), "names a file twice")
    folders = {path[:end] for path in paths for end in range(len(path)) if path[end] == "/"}
    _require(not taken & folders, "names the same path as file and as folder")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise CheckpointCorruptError(f"the manifest {problem}")
