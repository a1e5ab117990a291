"""The manifest of a checkpoint: which files it has, and how to tell that they are intact.

Version 2, which is written, lists the parts of each file. Version 1, which is still read, had whole
files only: one part each, named by its hash.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from tuneflow.errors import CheckpointCorruptError, SpecError
from tuneflow.jsonio import dumps, loads

VERSION: Final = 2
_HASH = re.compile(r"[0-9a-f]{64}")
_COPY = re.compile(r"[0-9a-f]{16}")
# The largest file that a file system and a JSON number can both hold.
_MAX_SIZE: Final = 2**53
# A part that is empty, '.' or '..', a drive letter, or a character that some system cannot hold.
_BAD_MEMBER = re.compile(
    r"(?:^|/)\.{0,2}(?:/|$)|^[A-Za-z]:|[\\\x00-\x1f\x7f\ud800-\udfff]",
)


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file, which are one blob in the storage. Equal parts are the same blob.

    Attributes:
        size: bytes, at least 1.
        hash: blake3 of the bytes, 64 hexadecimal digits.
        copy: 16 hexadecimal digits that tell this blob from others with the same bytes, which a
            collector may be about to delete; empty where there are none.
    """

    size: int
    hash: str
    copy: str = ""

    @property
    def key(self) -> str:
        """The blob's key in the study's storage."""
        name = f"{self.hash}-{self.copy}" if self.copy else self.hash
        return f"blobs/{self.hash[:2]}/{name}"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a checkpoint.

    Attributes:
        path: where it goes below the checkpoint's folder, with ``/`` between the names.
        parts: what the file is, one after the other; none for an empty file.
    """

    path: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        return sum(part.size for part in self.parts)


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

    def blobs(self) -> set[str]:
        """Return the key of every blob that the checkpoint needs."""
        return {part.key for entry in self.files for part in entry.parts}

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
            "version": VERSION,
            "resource": self.resource,
            "files": [_file_json(entry) for entry in self.files],
            "reports": list(self.reports),
        }
        try:
            return dumps({**content, "checksum": _checksum(content)}).encode()
        except (TypeError, ValueError) as error:
            raise SpecError("checkpoint", f"resource and reports must be JSON: {error}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return the manifest that `to_bytes` wrote, or its predecessor of version 1.

        Raises `CheckpointCorruptError` if it is torn, altered, of a newer version, names a file
        outside the checkpoint, or does not add up.
        """
        content = _parse(data)
        # A digit more than a float has would be overlooked otherwise.
        _require(dumps(content).encode() == data, "is altered")
        _require(content.pop("checksum", None) == _checksum(content), "is altered")
        version = content.get("version")
        # Not `in`: True is 1.
        _require(
            type(version) is int and 1 <= version <= VERSION,
            f"has version {version!r}; this tuneflow reads 1 to {VERSION}",
        )
        return _manifest(content)


def is_member(path: str) -> bool:
    """Say whether a file path stays inside its checkpoint, on every operating system."""
    return not _BAD_MEMBER.search(path)


def _file_json(entry: FileEntry) -> dict[str, Any]:
    parts = [
        {"size": part.size, "hash": part.hash, **({"copy": part.copy} if part.copy else {})}
        for part in entry.parts
    ]
    return {"path": entry.path, "size": entry.size, "parts": parts}


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
    read = _entry_1 if content["version"] == 1 else _entry
    entries = tuple(read(value) for value in files)
    _require_apart([entry.path for entry in entries])
    _require_one_size_each(entries)
    return Manifest(resource, entries, tuple(reports))


def _entry_1(value: Any) -> FileEntry:
    """Read a file of version 1."""
    path, size = _path_and_size(value, {"path", "size", "hash"})
    digest = _hash(path, value["hash"])
    if size:
        return FileEntry(path, (Part(size, digest),))
    _require(digest == blake3().hexdigest(), f"gives the empty file {path} the hash {digest!r}")
    return FileEntry(path, ())


def _entry(value: Any) -> FileEntry:
    path, size = _path_and_size(value, {"path", "size", "parts"})
    parts = value["parts"]
    _require(isinstance(parts, list), f"gives {path} parts that are no list")
    entry = FileEntry(path, tuple(_part(path, part) for part in parts))
    _require(entry.size == size, f"gives {path} {size} bytes, and its parts {entry.size}")
    return entry


def _path_and_size(value: Any, fields: set[str]) -> tuple[str, int]:
    _require(
        isinstance(value, dict) and value.keys() == fields, f"has the file entry {value!r:.200}"
    )
    path, size = value["path"], value["size"]
    _require(isinstance(path, str) and is_member(path), f"names the hostile file {path!r}")
    _require(type(size) is int and 0 <= size <= _MAX_SIZE, f"gives {path} the size {size!r}")
    return path, size


def _part(path: str, value: Any) -> Part:
    _require(
        isinstance(value, dict) and value.keys() - {"copy"} == {"size", "hash"},
        f"gives {path} the part {value!r:.200}",
    )
    size, copy = value["size"], value.get("copy", "")
    _require(
        type(size) is int and 0 < size <= _MAX_SIZE, f"gives {path} a part of the size {size!r}"
    )
    _require(
        "copy" not in value or (isinstance(copy, str) and bool(_COPY.fullmatch(copy))),
        f"gives {path} the copy {copy!r}",
    )
    return Part(size, _hash(path, value["hash"]), copy)


def _hash(path: str, digest: Any) -> str:
    _require(
        isinstance(digest, str) and bool(_HASH.fullmatch(digest)),
        f"gives {path} the hash {digest!r}",
    )
    return str(digest)


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value)


def _require_apart(paths: list[str]) -> None:
    """Refuse a file twice, and a file where another one needs a folder."""
    taken = set(paths)
    _require(len(taken) == len(paths), "names a file twice")
    folders = {path[:end] for path in paths for end in range(len(path)) if path[end] == "/"}
    _require(not taken & folders, "names the same path as file and as folder")


def _require_one_size_each(entries: tuple[FileEntry, ...]) -> None:
    sizes = {(part.key, part.size) for entry in entries for part in entry.parts}
    _require(len({key for key, _ in sizes}) == len(sizes), "gives a blob two sizes")


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise CheckpointCorruptError(f"the manifest {problem}")
