"""The environment variables that tell a process which trial it is."""

from __future__ import annotations

from tuneflow.objective.stream import Context


def trial_environment(context: Context) -> dict[str, str]:
    """Return what a trial's process is told, and what the study sets for it.

    TUNEFLOW_UNTIL and TUNEFLOW_MAX_RESOURCE are empty where there is no limit.
    """
    segment = context.segment
    return {
        "TUNEFLOW_TRIAL": str(segment.trial),
        "TUNEFLOW_SEGMENT": str(segment.segment),
        "TUNEFLOW_START": str(context.start),
        "TUNEFLOW_UNTIL": _text(segment.until),
        "TUNEFLOW_MAX_RESOURCE": _text(segment.max_resource),
        "TUNEFLOW_DIR": str(context.directory),
        **context.env,
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)
