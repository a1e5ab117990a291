"""Artifacts of a flow run that are created once, and from then on updated in place."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.runtime import flow_run

_LONGEST = 60
"""Characters of a name in a key."""


def key_of(name: str, storage: str) -> str:
    """Return what the keys of artifacts begin with: lowercase letters, digits and dashes.

    Args:
        name: a study's, or what several studies share.
        storage: where it is: what has the same name in another storage has another key.
    """
    words = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LONGEST].strip("-")
    digest = hashlib.sha256(f"{storage}\n{name}".encode()).hexdigest()[:6]
    return f"{words}-{digest}" if words else f"study-{digest}"


class KeptArtifacts:
    """The artifacts of one study in one flow run, at most one of each kind.

    Every method may raise what Prefect's client raises.

    Args:
        prefix: what their keys begin with; see `key_of`.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._ids: dict[str, Any] = {}

    @cached_property
    def _client(self) -> Any:
        # The functions of prefect.artifacts open a connection at each call.
        return get_client(sync_client=True)

    def keep(self, kind: str, form: str, data: Any, description: str | None = None) -> None:
        """Create the artifact of a kind, or update it.

        Args:
            kind: the last word of its key.
            form: one of Prefect's types: "progress", "table" or "markdown".
            data: as Prefect stores it: a percentage, JSON text, or Markdown.
            description: Markdown that is shown beside it.
        """
        if kind in self._ids:
            changes = ArtifactUpdate(data=data, description=description)
            self._client.update_artifact(self._ids[kind], changes)
            return
        wanted = ArtifactCreate(
            key=f"{self._prefix}-{kind}",
            type=form,
            data=data,
            description=description,
            flow_run_id=flow_run.id,
        )
        self._ids[kind] = self._client.create_artifact(wanted).id
