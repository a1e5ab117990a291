"""tuneflow in Prefect: a study, or a retune, as a flow.

    from tuneflow.prefect import retune_flow, tune_flow

The names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.errors import MissingDependencyError

if TYPE_CHECKING:
    from tuneflow.prefect.blocks import StudyStorage
    from tuneflow.prefect.drifting import report_drift
    from tuneflow.prefect.flow import tune_flow
    from tuneflow.prefect.retuning import retune_flow

_HOMES = {
    "StudyStorage": "tuneflow.prefect.blocks",
    "report_drift": "tuneflow.prefect.drifting",
    "retune_flow": "tuneflow.prefect.retuning",
    "tune_flow": "tuneflow.prefect.flow",
}

__all__ = ["StudyStorage", "report_drift", "retune_flow", "tune_flow"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "prefect":
            raise
        raise MissingDependencyError("prefect", "prefect") from error


def __dir__() -> list[str]:
    return sorted(__all__)
