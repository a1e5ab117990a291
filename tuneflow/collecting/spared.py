"""What refers to the checkpoints of a study from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

from tuneflow.collecting.manifests import REF
from tuneflow.errors import SpecError
from tuneflow.store import Store
from tuneflow.store_urls import normalise

_OF_RETUNE: Final = re.compile(r"(?P<line>.+)/(?P<study>retunes/\d+/(?P<phase>[a-z]+))")
"""The URL of a study of a retune."""

_MEASURING: Final = ("champion", "challenger")
_NAMED: Final = re.compile(rb'/(retunes/\d+/[a-z]+/)?(trials/\d+/checkpoints/[^"/\\]+\.json)"')
"""The end of the URI of a checkpoint in a record of a champion log, which is JSON."""


def is_measuring(url: str) -> bool:
    """Whether a study measures a champion or a challenger: any trial's may become a champion's."""
    found = _OF_RETUNE.fullmatch(url)
    return found is not None and found["phase"] in _MEASURING


def of_champions(store: Store) -> set[str]:
    """Return the checkpoints of a study that a champion log refers to, champions of the past too.

    It is the log of the line that the study belongs to, as one of its retunes or as the study that
    it began with. It lies in the same storage.
    """
    found = _OF_RETUNE.fullmatch(store.url)
    line, study = (Store(found["line"]), f"{found['study']}/") if found else (store, "")
    refs = set()
    for data in line.get_many(line.list("champions")):
        for match in _NAMED.finditer(data or b""):
            if (match[1] or b"").decode() == study:
                refs.add(match[2].decode())
    return refs


def named(uris: Iterable[str]) -> dict[str, str]:
    """Return the references in URIs of checkpoints, by these. Raises SpecError for what is none."""
    refs = {}
    for uri in uris:
        ref = f"trials/{uri.rpartition('trials/')[2]}"
        if REF.fullmatch(ref) is None:
            fix = "give what a champion or a result has, such as …/trials/000017/checkpoints/…"
            raise SpecError("--keep-ref", f"{uri!r} is no checkpoint of a study", fix)
        refs[uri] = ref
    return refs


def require_there(refs: Mapping[str, str], url: str, objects: Collection[str]) -> None:
    """Raise SpecError for what is said to be a checkpoint of this study, and is not there.

    Whoever has mistyped one would lose it. Those of other studies may be named, too.

    Args:
        refs: references by their URIs.
        url: the study's.
        objects: the keys that there are.
    """
    for uri, ref in refs.items():
        if ref not in objects and _place(uri, ref) in ("", url):
            fix = "mend it, or leave it out if that checkpoint is not needed any more"
            raise SpecError("--keep-ref", f"there is no {ref!r} in {url}", fix)


def _place(uri: str, ref: str) -> str:
    """Return the URL of the study that a checkpoint's URI says, as tuneflow spells it."""
    place = uri.removesuffix(ref)
    with suppress(SpecError):
        return normalise(place) if place else ""
    return place
