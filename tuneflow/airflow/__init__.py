"""tuneflow in Airflow: a study as a task group, or as one deferrable task; scheduled retuning.

    from tuneflow.airflow import tune_task_group

The names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.errors import MissingDependencyError

if TYPE_CHECKING:
    from tuneflow.airflow.drift_operator import DriftOperator
    from tuneflow.airflow.group import tune_task_group
    from tuneflow.airflow.hook import DaskHook
    from tuneflow.airflow.retune_group import retune_task_group
    from tuneflow.airflow.tune_operator import TuneOperator

_HOMES = {
    "DaskHook": "tuneflow.airflow.hook",
    "DriftOperator": "tuneflow.airflow.drift_operator",
    "TuneOperator": "tuneflow.airflow.tune_operator",
    "retune_task_group": "tuneflow.airflow.retune_group",
    "tune_task_group": "tuneflow.airflow.group",
}

__all__ = ["DaskHook", "DriftOperator", "TuneOperator", "retune_task_group", "tune_task_group"]


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
