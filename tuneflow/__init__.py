"""Hyperparameter tuning as a pipeline that an orchestrator can see, retry and resume.

    import tuneflow

    def train(config):
        for epoch in range(27):
            tuneflow.report(accuracy=...)

    result = tuneflow.tune(
        train,
        space={"lr": tuneflow.space.loguniform(1e-4, 1e-1)},
        metric="accuracy",
        mode="max",
        scheduler=tuneflow.schedulers.ASHA(max_resource=27),
        trials=50,
    )

Names are imported when they are first used, so that ``import tuneflow`` costs next to nothing
in the processes that only report.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow import errors, executors, schedulers, searchers, space, stoppers, trackers
    from tuneflow.api import create_study, load, pbt_schedule, resume, tune
    from tuneflow.budget import Budget, Plateau
    from tuneflow.objective.parameters import with_parameters
    from tuneflow.objective.session import checkpoint, current_trial, preempted, report
    from tuneflow.result import Result
    from tuneflow.submitting import submit

__version__ = "0.1.0"

__all__ = [
    "tune",
    "submit",
    "resume",
    "load",
    "create_study",
    "pbt_schedule",
    "report",
    "checkpoint",
    "current_trial",
    "preempted",
    "with_parameters",
    "Result",
    "Budget",
    "Plateau",
    "errors",
    "executors",
    "schedulers",
    "searchers",
    "space",
    "stoppers",
    "trackers",
]

_HOMES = {
    "tune": "tuneflow.api",
    "submit": "tuneflow.submitting",
    "resume": "tuneflow.api",
    "load": "tuneflow.api",
    "create_study": "tuneflow.api",
    "pbt_schedule": "tuneflow.api",
    "report": "tuneflow.objective.session",
    "checkpoint": "tuneflow.objective.session",
    "current_trial": "tuneflow.objective.session",
    "preempted": "tuneflow.objective.session",
    "with_parameters": "tuneflow.objective.parameters",
    "Result": "tuneflow.result",
    "Budget": "tuneflow.budget",
    "Plateau": "tuneflow.budget",
}
_MODULES = ("errors", "executors", "schedulers", "searchers", "space", "stoppers", "trackers")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"tuneflow.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tuneflow' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
