"""What a study has come to, as a small JSON that travels through Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef

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


def emit(context: Mapping[str, Any], outlets: Iterable[Any], best: Mapping[str, Any]) -> None:
    """Let the asset events of a task's outlets say what was found.

    An alias stands for an asset that is not known when the DAG is parsed: here, the study.
    """
    events = context["outlet_events"]
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            events[outlet].add(Asset(name=best["study"], uri=best["study"]), extra=dict(best))
        elif isinstance(outlet, Asset | AssetRef):
            events[outlet].extra = dict(best)
