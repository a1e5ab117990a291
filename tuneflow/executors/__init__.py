"""Executors: where trials run. One file each; `base` says what an executor is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.executors.base import Executor
    from tuneflow.executors.dask import DaskExecutor
    from tuneflow.executors.inline import InlineExecutor
    from tuneflow.executors.simulated import SimulatedExecutor

__all__ = ["Executor", "InlineExecutor", "DaskExecutor", "SimulatedExecutor"]

_HOMES = {
    "Executor": "tuneflow.executors.base",
    "InlineExecutor": "tuneflow.executors.inline",
    "DaskExecutor": "tuneflow.executors.dask",
    "SimulatedExecutor": "tuneflow.executors.simulated",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tuneflow.executors' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
