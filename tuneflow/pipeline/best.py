"""What a study has come to, as a small JSON that travels through an orchestrator."""

from __future__ import annotations

from typing import Any

from tuneflow.driving import checked
from tuneflow.opened import OpenStudy
from tuneflow.result import Result


def best_of(opened: OpenStudy) -> dict[str, Any]:
    """Return a study's URL, and its best trial: number, value, metric, config and checkpoint.

    The checkpoint is the URI of its manifest, or None: the study's URL and the reference that
    `tuneflow.load(study).checkpoint()` restores. The value is in the metric's own sign.

    Raises:
        TrialsFailedError: the study was halted, or no trial has a usable value.
    """
    result = checked(Result(opened))
    best = result.best_trial
    return {
        "study": opened.url,
        "trial": best.number,
        "value": result.best_value,
        "metric": opened.study.metric,
        "config": best.params,
        "checkpoint": f"{opened.url}/{best.checkpoint}" if best.checkpoint else None,
    }
