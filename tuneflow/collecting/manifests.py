"""Which of the manifests in a storage stay, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tuneflow.retention import Needs
from tuneflow.store import Stat
from tuneflow.trial import outcome_path

REF: Final = re.compile(r"trials/(\d+)/checkpoints/(\d+)-[^/]+\.json")
"""What the references of checkpoints look like: trial and segment."""


@dataclass(frozen=True)
class Manifests:
    """The manifests in a storage, sorted out.

    Attributes:
        kept: those that stay, each with the reason.
        superseded: those that were reported and are not kept.
        stray: those that were never reported, of segments that ended long ago.
    """

    kept: dict[str, str] = field(default_factory=dict)
    superseded: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)


def sort_out(
    objects: Mapping[str, Stat], needs: Needs, spared: Mapping[str, str], before: float
) -> Manifests:
    """Return what becomes of each manifest.

    Args:
        objects: all that lies below ``trials/``.
        needs: what the study needs; it may be older than the listing.
        spared: what must stay for another reason, with that.
        before: what was written later is no stray yet; by the storage's clock.
    """
    found = {ref: match for ref in sorted(objects) if (match := REF.fullmatch(ref))}
    segments = {ref: (int(match[1]), int(match[2])) for ref, match in found.items()}
    newest = _newest(objects, needs, segments)
    sorted_out = Manifests()
    for ref, segment in segments.items():
        why = needs.kept.get(ref) or spared.get(ref)
        if why is None and _is_open(needs, segment):
            why = _why_open(needs, ref, newest[segment] <= objects[ref].modified)
        elif why is None and ref not in needs.reported:
            why = _why_no_stray(objects, needs, ref, segment, before)
        if why is not None:
            sorted_out.kept[ref] = why
        elif ref in needs.reported:
            sorted_out.superseded.append(ref)
        else:
            sorted_out.stray.append(ref)
    return sorted_out


def _newest(
    objects: Mapping[str, Stat], needs: Needs, segments: Mapping[str, tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """Return when the newest manifest of each open segment was written.

    A segment that is run again may have begun before what was reported last; then its newest one
    is not that of the highest level, and still what it relies on.
    """
    newest: dict[tuple[int, int], float] = {}
    for ref, segment in segments.items():
        if _is_open(needs, segment):
            newest[segment] = max(newest.get(segment, 0.0), objects[ref].modified)
    return newest


def _is_open(needs: Needs, segment: tuple[int, int]) -> bool:
    trial, number = segment
    return trial in needs.running and needs.segments[trial] == number


def _why_open(needs: Needs, ref: str, is_newest: bool) -> str | None:
    if ref not in needs.reported:
        return "it is not reported yet"
    return "it is the newest of a segment that runs" if is_newest else None


def _why_no_stray(
    objects: Mapping[str, Stat], needs: Needs, ref: str, segment: tuple[int, int], before: float
) -> str | None:
    """Return why a checkpoint that nobody has reported stays, or None if it goes.

    Its worker may not know yet that its segment is over.
    """
    trial, number = segment
    if trial >= len(needs.segments) or number > needs.segments[trial]:
        return "its segment is not known yet"
    outcome = objects.get(outcome_path(trial, number))
    if outcome is None or max(outcome.modified, objects[ref].modified) > before:
        return "its segment ended a short time ago"
    return None
