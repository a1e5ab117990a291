"""The asset events that say what a study has found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetRef


def emit(
    context: Mapping[str, Any], outlets: Iterable[Any], url: str, found: Mapping[str, Any]
) -> None:
    """Let the asset events of a task's outlets say what was found.

    An alias stands for an asset that is not known when the DAG is parsed: here, the one that is
    named by a URL.
    """
    events = context["outlet_events"]
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            events[outlet].add(Asset(name=url, uri=url), extra=dict(found))
        elif isinstance(outlet, Asset | AssetRef):
            events[outlet].extra = dict(found)
