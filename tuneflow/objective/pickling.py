"""An objective as bytes, for processes that cannot import it by a name; never for storage."""

from __future__ import annotations

from typing import Any

from tuneflow.errors import ObjectiveError


def to_bytes(objective: Any) -> bytes:
    """Pickle an objective. Raises ObjectiveError when it holds what cannot be sent."""
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(objective, protocol=5)
    except Exception as error:
        raise ObjectiveError(
            f"the objective cannot be sent to the workers: {_name(error)}; open files, locks "
            "and connections inside the function that uses them"
        ) from error
    return data


def from_bytes(data: bytes) -> Any:
    """Return what `to_bytes` was given, in a worker. Raises ObjectiveError when that fails."""
    import cloudpickle

    try:
        return cloudpickle.loads(data)
    except Exception as error:
        raise ObjectiveError(
            f"the objective cannot be loaded on the worker: {_name(error)}; install there "
            "what the driver has installed"
        ) from error


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
