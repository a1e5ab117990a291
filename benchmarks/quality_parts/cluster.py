"""The simulated cluster for algorithms of other libraries.

It is `tuneflow.executors.simulated.SimulatedExecutor` once more, without a journal and without a
driver, for a `Peer` that is called back at each report. A segment of the same trial has the same
slowness, fails and is lost at the same steps as there. There are two differences, both in the
peer's favour: a trial that it stops or pauses ends at the very report, and asking costs no time.
"""

from __future__ import annotations

import heapq
import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from benchmarks.quality_parts.problems import Problem
from benchmarks.quality_parts.record import Incumbents
from benchmarks.quality_parts.setting import Setting
from tuneflow.rng import generator


@dataclass(frozen=True)
class Order:
    """What a peer wants next.

    Attributes:
        trial: its number; a new trial has the next one.
        config: its configuration, if it is new or has changed.
        start: the level that it goes on from, if not from where it paused.
    """

    trial: int
    config: Mapping[str, Any] | None = None
    start: int | None = None


class Peer(ABC):
    """A scheduler and searcher of another library."""

    @abstractmethod
    def ask(self) -> Order | None:
        """Return a new trial or a paused one; None when there is nothing to do at the moment."""

    @abstractmethod
    def report(self, trial: int, level: int, value: float) -> bool:
        """Take a report; return whether the trial goes on (False pauses or stops it)."""

    def complete(self, trial: int) -> None:  # noqa: B027 - many need not be told
        """Take note that a trial has come to the full resource, after its report."""

    def failed(self, trial: int) -> None:  # noqa: B027 - many need not be told
        """Take note that a trial has failed for good."""


@dataclass
class _Trial:
    config: Mapping[str, Any]
    segment: int = -1
    level: int = 0
    losses: int = 0


@dataclass
class _Run:
    trial: int
    step: float
    rng: random.Random
    level: int


@dataclass
class Cluster:
    """Runs a peer for its time.

    Args:
        problem: what is minimised.
        seed: of the noise, the stragglers, the failures and the preemptions.
        setting: the cluster.
        peer: who decides.
        incumbents: who watches.
    """

    problem: Problem
    seed: int
    setting: Setting
    peer: Peer
    incumbents: Incumbents
    trials: list[_Trial] = field(default_factory=list)
    _clock: float = 0.0
    _arrivals: int = 0
    _events: list[tuple[float, int, _Run]] = field(default_factory=list)
    _lost: deque[int] = field(default_factory=deque)

    def run(self) -> None:
        """Turn until the time is over or there is nothing left to do."""
        self._fill()
        while self._events and self._events[0][0] <= self.incumbents.until:
            self._clock, _, run = heapq.heappop(self._events)
            self._turn(run)
            self._fill()

    def _fill(self) -> None:
        while len(self._events) < self.setting.workers:
            order = Order(self._lost.popleft()) if self._lost else self.peer.ask()
            if order is None:
                return
            self._begin(order)

    def _begin(self, order: Order) -> None:
        if order.trial == len(self.trials):
            self.trials.append(_Trial(order.config or {}))
        trial = self.trials[order.trial]
        trial.config = order.config or trial.config
        trial.level = trial.level if order.start is None else order.start
        trial.segment += 1
        rng = generator(self.seed, "simulated", order.trial, trial.segment)
        step = self.problem.cost(trial.config) * self._slowness(rng)
        self._plan(_Run(order.trial, step, rng, trial.level))

    def _slowness(self, rng: random.Random) -> float:
        spread = self.setting.straggler_spread
        if not spread:
            return 1.0
        return math.exp(spread * NormalDist().inv_cdf(max(rng.random(), 2.0**-53)))

    def _plan(self, run: _Run) -> None:
        self._arrivals += 1
        heapq.heappush(self._events, (self._clock + run.step, self._arrivals, run))

    def _turn(self, run: _Run) -> None:
        trial = self.trials[run.trial]
        if self._is_lost(run):
            trial.losses += 1
            if trial.losses <= self.setting.max_losses:
                self._lost.append(run.trial)
            else:
                self.peer.failed(run.trial)
            return
        rate = self.setting.failure_rate(self.problem)
        if rate and run.rng.random() < rate:
            self.peer.failed(run.trial)
            return
        run.level += 1
        trial.level, trial.losses = run.level, 0
        value = self.problem.value(trial.config, run.level, self.seed)
        self.incumbents.note(self._clock, trial.config, run.level, value)
        goes_on = self.peer.report(run.trial, run.level, value)
        if run.level >= self.problem.resource:
            self.peer.complete(run.trial)
        elif goes_on:
            self._plan(run)

    def _is_lost(self, run: _Run) -> bool:
        rate = self.setting.preemption_rate(self.problem)
        return rate > 0 and run.rng.random() < -math.expm1(-rate * run.step / 3600)
