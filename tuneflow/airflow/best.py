"""The asset events that say what a study has found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef


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
