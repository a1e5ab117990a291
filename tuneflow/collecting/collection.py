"""What a collection has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Collection:
    """What was removed; after a dry run, what would have been.

    Attributes:
        study: the study's URL.
        dry_run: whether nothing was touched.
        superseded: references of checkpoints that were reported and are not kept.
        stray: those of checkpoints that were never reported, of segments that ended long ago.
        blobs: keys of what no checkpoint has any more, with their sizes in bytes.
        staged: how many files killed writers had left, in a folder.
        waiting: what no checkpoint has any more, but is too young to be removed, like ``blobs``.
        kept: references of the checkpoints that stay, each with the reason.
        damaged: those of them whose manifest cannot be read.
        manifest_bytes: bytes of the manifests that were removed.
        kept_bytes: bytes of all that the checkpoints that stay consist of.
        is_complete: whether it got to its end; another one does the rest.
    """

    study: str
    dry_run: bool
    superseded: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)
    staged: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()
    manifest_bytes: int = 0
    kept_bytes: int = 0
    is_complete: bool = True

    @property
    def freed(self) -> int:
        """The bytes that were freed."""
        return self.manifest_bytes + sum(self.blobs.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was removed."""
        return not (self.superseded or self.stray or self.blobs or self.staged)

    def __str__(self) -> str:
        count = len(self.superseded) + len(self.stray)
        return (
            f"{count} checkpoints and {len(self.blobs)} files of checkpoints "
            f"({self.freed:,} bytes) {'would be' if self.dry_run else 'were'} removed, "
            f"{len(self.kept)} checkpoints are kept"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "study": self.study,
            "dry_run": self.dry_run,
            "complete": self.is_complete,
            "freed_bytes": self.freed,
            "superseded": list(self.superseded),
            "stray": list(self.stray),
            "blobs": dict(self.blobs),
            "staged_files": self.staged,
            "waiting": dict(self.waiting),
            "kept": dict(self.kept),
            "kept_bytes": self.kept_bytes,
            "damaged": list(self.damaged),
        }
