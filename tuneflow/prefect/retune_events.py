"""Events of a line, so that automations can deploy a new champion, or begin a retune.

The resource of each is the line: its id is the line's URL.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from prefect.events import emit_event

PROMOTED: Final = "tuneflow.champion.promoted"
"""There is a new champion; the payload is what the retune's flow returns."""

DRIFTED: Final = "tuneflow.metric.drifted"
"""A metric has left its range; the payload is the JSON of a `tuneflow.retune.drift.Drift`."""

_NAMES: Final = uuid.UUID("6f1d0c3e-5b0e-4a58-9a61-9a2c1a7f4a11")


def emit_promoted(said: Mapping[str, Any]) -> None:
    """Tell of a new champion.

    The event has the same id whenever it is sent, so that a retune that is gone on with after its
    verdict sets nothing off twice.

    Args:
        said: the verdict, see `tuneflow.retune.line.Retune.summary`.
    """
    line, number = said["line"], said["retune"]
    emit_event(
        PROMOTED,
        resource={**_resource(line), "tuneflow.retune": str(number)},
        payload=dict(said),
        id=uuid.uuid5(_NAMES, f"{line}\n{number}"),
    )


def emit_drifted(line: str, drift: Mapping[str, Any]) -> None:
    """Tell of a metric that has drifted.

    Args:
        line: the URL of the line whose champion it is about.
        drift: see `DRIFTED`.
    """
    emit_event(DRIFTED, resource=_resource(line), payload=dict(drift))


def _resource(line: str) -> dict[str, str]:
    return {"prefect.resource.id": line, "prefect.resource.name": line.rpartition("/")[2]}
