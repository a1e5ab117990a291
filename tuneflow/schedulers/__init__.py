"""Schedulers: who gets how much resource. One file each; `base` says what a scheduler is."""

from __future__ import annotations

from tuneflow.schedulers.asha import ASHA
from tuneflow.schedulers.base import Clone, Decision, Resume, Scheduler, Start, Stop
from tuneflow.schedulers.bohb import BOHB
from tuneflow.schedulers.cost_asha import CostASHA
from tuneflow.schedulers.dehb import DEHB
from tuneflow.schedulers.fifo import FIFO
from tuneflow.schedulers.halving import SuccessiveHalving
from tuneflow.schedulers.hyperband import Hyperband
from tuneflow.schedulers.median import MedianStopping
from tuneflow.schedulers.mo_asha import MOASHA
from tuneflow.schedulers.pasha import PASHA
from tuneflow.schedulers.pb2 import PB2
from tuneflow.schedulers.pbt import PBT
from tuneflow.schedulers.pbt_replay import PBTReplay
from tuneflow.schedulers.resource_changing import ResourceChanging

__all__ = [
    "FIFO",
    "SuccessiveHalving",
    "Hyperband",
    "BOHB",
    "DEHB",
    "ASHA",
    "PASHA",
    "CostASHA",
    "MOASHA",
    "MedianStopping",
    "PBT",
    "PB2",
    "PBTReplay",
    "ResourceChanging",
    "Scheduler",
    "Decision",
    "Start",
    "Resume",
    "Clone",
    "Stop",
]
