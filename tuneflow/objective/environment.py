"""The environment variables that tell a process which trial it is."""

from __future__ import annotations

from typing import Any

from tuneflow.objective.stream import Context
from tuneflow.trial import Segment


def trial_environment(context: Context) -> dict[str, str]:
    """Return what a trial's process is told, and what the study sets for it.

    TUNEFLOW_UNTIL and TUNEFLOW_MAX_RESOURCE are empty where there is no limit.
    """
    segment, amounts = context.segment, occupied(context.segment)
    return {
        "TUNEFLOW_TRIAL": str(segment.trial),
        "TUNEFLOW_SEGMENT": str(segment.segment),
        "TUNEFLOW_START": str(context.start),
        "TUNEFLOW_UNTIL": _text(segment.until),
        "TUNEFLOW_MAX_RESOURCE": _text(segment.max_resource),
        "TUNEFLOW_CPU": str(amounts["cpu"]),
        "TUNEFLOW_GPU": str(amounts["gpu"]),
        "TUNEFLOW_DIR": str(context.directory),
        **context.env,
    }


def occupied(segment: Segment) -> dict[str, Any]:
    """Return what a segment occupies: ``cpu`` and ``gpu`` always, ``memory`` where it is said."""
    return {"cpu": 1, "gpu": 0, **(segment.resources or {})}


def _text(value: object) -> str:
    return "" if value is None else str(value)
