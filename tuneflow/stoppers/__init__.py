"""Stoppers: rules beside the scheduler that end trials, or the study; `base` says what one is."""

from __future__ import annotations

from tuneflow.stoppers.base import Stopper, Watch
from tuneflow.stoppers.combined import Combined
from tuneflow.stoppers.experiment_plateau import ExperimentPlateau
from tuneflow.stoppers.function import Function
from tuneflow.stoppers.max_resource import MaxResource
from tuneflow.stoppers.trial_plateau import TrialPlateau

__all__ = [
    "TrialPlateau",
    "ExperimentPlateau",
    "Function",
    "MaxResource",
    "Combined",
    "Stopper",
    "Watch",
]
