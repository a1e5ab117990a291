"""Where a study ran last: a hint beside the spec, so that a resume need not be told again.

It is no part of the study, is overwritten by each run, and may be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuneflow.jsonio import loads
from tuneflow.redaction import is_secret_name
from tuneflow.store import NotFound, Store

PATH = "place.json"


@dataclass(frozen=True)
class LastPlace:
    """Where a study ran last.

    Attributes:
        folder: where the relative paths of its objective start.
        executor: what its trials ran on, as a study file has it; None when that cannot be
            written down.
        trackers: what followed it, likewise; those that cannot be written down are left out.
    """

    folder: str
    executor: Mapping[str, Any] | None = None
    trackers: tuple[Mapping[str, Any], ...] = ()

    def remember(self, store: Store) -> None:
        """Keep this in a study's store, without anything that looks like a credential."""
        data = {name: _without_secrets(value) for name, value in asdict(self).items()}
        store.put(PATH, json.dumps(data, indent=2).encode())

    @classmethod
    def recall(cls, store: Store) -> LastPlace | None:
        """Return what was kept in a study's store, or None when it is not there or not readable."""
        try:
            data = loads(store.get(PATH))
            return cls(**{**data, "trackers": tuple(data.get("trackers", ()))})
        except (NotFound, AttributeError, TypeError, ValueError):
            return None


def base_folder(place: LastPlace | None) -> Path:
    """Return where relative paths start: where they did last, or else the current folder."""
    if place is not None and Path(place.folder).is_dir():
        return Path(place.folder)
    return Path.cwd()


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _without_secrets(item)
            for key, item in value.items()
            if not is_secret_name(str(key)) and not _has_credentials(item)
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value if not _has_credentials(item)]
    return value


def _has_credentials(value: Any) -> bool:
    """Whether a text is a URL with a user or a password in it."""
    return isinstance(value, str) and "://" in value and "@" in urlsplit(value).netloc
