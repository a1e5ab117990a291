"""Trackers: what follows a study from outside. One file each; `base` says what a tracker is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.trackers.base import Tracker
    from tuneflow.trackers.jsonl import JsonLines

__all__ = ["Tracker", "JsonLines"]

_HOMES = {"Tracker": "tuneflow.trackers.base", "JsonLines": "tuneflow.trackers.jsonl"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tuneflow.trackers' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
