"""What a study has come to, as a small JSON that travels through an orchestrator."""

from __future__ import annotations

from typing import Any

from tuneflow.driving import checked
from tuneflow.opened import OpenStudy
from tuneflow.result import Result

_MOST = 100
"""Trials of a front, at most: orchestrators keep what is returned in their databases."""


def best_of(opened: OpenStudy) -> dict[str, Any]:
    """Return a study's URL, and its best trial: number, value, metric, config and checkpoint.

    The checkpoint is the URI of its manifest, or None: the study's URL and the reference that
    `tuneflow.load(study).checkpoint()` restores. The value is in the metric's own sign. Where there
    are several metrics, ``values`` has them all, and ``front`` the trials of the Pareto front, each
    with its number, values and configuration; of a larger one, the first hundred.

    Raises:
        TrialsFailedError: the study was halted, or no trial has a usable value.
    """
    result = checked(Result(opened))
    best = result.best_trial
    found = {
        "study": opened.url,
        "trial": best.number,
        "value": result.best_value,
        "metric": opened.study.metric,
        "config": best.params,
        "checkpoint": f"{opened.url}/{best.checkpoint}" if best.checkpoint else None,
    }
    return {**found, **_several(result)} if opened.study.other_metrics else found


def _several(result: Result) -> dict[str, Any]:
    front = [
        {"trial": trial.number, "values": result.values(trial), "config": trial.params}
        for trial in result.pareto_front[:_MOST]
    ]
    return {"values": result.values(result.best_trial), "front": front}
