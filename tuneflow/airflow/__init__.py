"""tuneflow in Airflow: a study as a task group, or as one deferrable task.

    from tuneflow.airflow import tune_task_group

The names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.errors import MissingDependencyError

if TYPE_CHECKING:
    from tuneflow.airflow.group import tune_task_group
    from tuneflow.airflow.hook import DaskHook
    from tuneflow.airflow.tune_operator import TuneOperator

_HOMES = {
    "DaskHook": "tuneflow.airflow.hook",
    "TuneOperator": "tuneflow.airflow.tune_operator",
    "tune_task_group": "tuneflow.airflow.group",
}

__all__ = ["DaskHook", "TuneOperator", "tune_task_group"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "airflow":
            raise
        raise MissingDependencyError("apache-airflow", "airflow") from error


def __dir__() -> list[str]:
    return sorted(__all__)
