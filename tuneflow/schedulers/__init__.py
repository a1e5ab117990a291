"""Schedulers: who gets how much resource. One file each; `base` says what a scheduler is."""

from __future__ import annotations

from tuneflow.schedulers.asha import ASHA
from tuneflow.schedulers.base import Clone, Decision, Resume, Scheduler, Start, Stop
from tuneflow.schedulers.fifo import FIFO
from tuneflow.schedulers.halving import SuccessiveHalving
from tuneflow.schedulers.hyperband import Hyperband
from tuneflow.schedulers.median import MedianStopping
from tuneflow.schedulers.pbt import PBT

__all__ = [
    "FIFO",
    "SuccessiveHalving",
    "Hyperband",
    "ASHA",
    "MedianStopping",
    "PBT",
    "Scheduler",
    "Decision",
    "Start",
    "Resume",
    "Clone",
    "Stop",
]
