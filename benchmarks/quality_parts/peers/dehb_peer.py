"""The DEHB package of its authors, by its ask and tell."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from typing import Any

from dehb import DEHB

from benchmarks.quality_parts.cluster import Order, Peer
from benchmarks.quality_parts.peers.config_space import config_space
from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.setting import Setting


class DEHBPeer(Peer):
    """DEHB's own loop: a job is a configuration at a fidelity.

    A configuration that it asks for again at a higher fidelity goes on from where it paused.
    """

    def __init__(self, problem: Problem, seed: int, _: Setting) -> None:
        space = config_space(problem, seed)
        self._dehb = DEHB(
            cs=space,
            f=None,
            dimensions=len(problem.axes),
            min_fidelity=1,
            max_fidelity=problem.resource,
            eta=3,
            n_workers=1,
            seed=seed,
            output_path=tempfile.mkdtemp(prefix="dehb-"),
            save_freq=None,
            log_level="ERROR",
        )
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._running: dict[int, Any] = {}
        self._reached: dict[int, int] = {}

    def ask(self) -> Order:
        """Return the next job."""
        job = self._dehb.ask()
        config = {key: _plain(value) for key, value in dict(job["config"]).items()}
        number = self._number(tuple(sorted(config.items())), round(job["fidelity"]))
        self._running[number] = (job, round(job["fidelity"]))
        return Order(number, config)

    def _number(self, key: tuple[Any, ...], fidelity: int) -> int:
        """Return the paused trial of a configuration, or a new one."""
        known = self._numbers.get(key)
        if known is not None and known not in self._running and self._reached[known] < fidelity:
            return known
        self._numbers[key] = len(self._reached)
        self._reached[self._numbers[key]] = 0
        return self._numbers[key]

    def report(self, trial: int, level: int, value: float) -> bool:
        """Tell the result at the fidelity, where the trial pauses."""
        self._reached[trial] = level
        if level < self._running[trial][1]:
            return True
        self._tell(trial, value)
        return False

    def failed(self, trial: int) -> None:
        """Tell the worst result there is."""
        self._reached[trial] = 10**9
        self._tell(trial, math.inf)

    def _tell(self, trial: int, value: float) -> None:
        job, fidelity = self._running.pop(trial)
        self._dehb.tell(job, {"fitness": value, "cost": float(fidelity)})


def _plain(value: Any) -> float | int:
    return int(value) if isinstance(value, int) or float(value).is_integer() else float(value)


ALGORITHMS: dict[str, Callable[[Problem, int, Setting], Peer]] = {"dehb": DEHBPeer}
