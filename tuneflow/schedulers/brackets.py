"""Synchronous halving in overlapping brackets: what successive halving and Hyperband share.

A bracket is a ladder of rungs. Its rung is decided when every trial in it is resolved: paused
there, ended, or failed for good. Brackets are handed out one after another: while a rung waits
for its last trial, the next bracket begins, so that no slot idles.
"""

from __future__ import annotations

import heapq
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from tuneflow.events import (
    Closed,
    Exhausted,
    Finished,
    Launched,
    Opened,
    Reported,
    Stopped,
)
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.schedulers.base import Decision, Resume, Scheduler, Start
from tuneflow.schedulers.levels import check_factor, check_resources, falling_levels, ladder
from tuneflow.trial import Resource

Ladder: TypeAlias = list[tuple[int, Resource]]
"""The rungs of a bracket: how many trials, and at which level."""


@dataclass(slots=True)
class _Bracket:
    """One bracket as the facts have filled it."""

    rungs: Ladder
    trials: list[int] = field(default_factory=list)
    rung: int = 0
    pending: set[int] = field(default_factory=set)
    results: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.trials) >= self.rungs[0][0]

    @property
    def is_last_rung(self) -> bool:
        return self.rung == len(self.rungs) - 1

    def cut_to_size(self, eta: float) -> None:
        """Shrink the ladder to the trials that there are, when there will be no more."""
        levels = [level for _, level in self.rungs]
        self.rungs = ladder(max(1, len(self.trials)), levels, eta)


class Brackets(Index):
    """The index behind a synchronous scheduler.

    Args:
        shapes: the ladders, used in turn and over again.
        eta: the reduction factor.
        loss: turns a report's metrics into a loss.
    """

    def __init__(
        self, shapes: list[Ladder], eta: float, loss: Callable[[Mapping[str, float]], float]
    ) -> None:
        self._shapes = shapes
        self._eta = eta
        self._loss = loss
        self._brackets: list[_Bracket] = []
        self._bracket_of: list[int] = []
        self._latest: list[tuple[float, int]] = []
        self._arrivals = 0
        self._promotions: list[tuple[int, int, int, int]] = []
        self._promoted: dict[int, int] = {}
        self._over: set[int] = set()
        self._failed_in: dict[int, int] = {}

    def promotion(self) -> tuple[int, Resource] | None:
        """Return the next trial to promote and its level: older brackets first."""
        while self._promotions:
            bracket, rung, _, trial = self._promotions[0]
            if self._promoted.get(trial) == rung:
                return trial, self._brackets[bracket].rungs[rung][1]
            heapq.heappop(self._promotions)
        return None

    @property
    def remaining(self) -> int:
        """How many trials run, wait for their rung, or are promoted."""
        return sum(
            len(bracket.pending) + (0 if bracket.is_last_rung else len(bracket.results))
            for bracket in self._brackets
        )

    def opening(self) -> tuple[int, Resource]:
        """Return the bracket that a new trial belongs to, and its first level."""
        number = len(self._brackets)
        if self._brackets and not self._brackets[-1].is_full:
            number -= 1
        return number, self._shape(number)[0][1]

    def reported(self, fact: Reported) -> None:
        """Note the trial's newest value and when it came."""
        self._arrivals += 1
        self._latest[fact.trial] = (self._loss(fact.report.metrics), self._arrivals)

    def stopped(self, fact: Stopped) -> None:
        """Nobody waits for the trial any longer, and it is not promoted."""
        self._over.add(fact.trial)
        bracket = self._brackets[self._bracket_of[fact.trial]]
        bracket.results = [result for result in bracket.results if result[2] != fact.trial]
        self._resolve(fact.trial)

    def _shape(self, bracket: int) -> Ladder:
        return self._shapes[bracket % len(self._shapes)]

    def launched(self, fact: Launched) -> None:
        """The trial is under way."""
        if fact.trial == len(self._bracket_of):
            self._begin(fact)
        self._promoted.pop(fact.trial, None)

    def _begin(self, fact: Launched) -> None:
        if fact.bracket == len(self._brackets):
            self._brackets.append(_Bracket(list(self._shape(fact.bracket))))
        bracket = self._brackets[fact.bracket]
        bracket.trials.append(fact.trial)
        bracket.pending.add(fact.trial)
        self._bracket_of.append(fact.bracket)
        self._latest.append((math.inf, 0))

    def closed(self, fact: Closed) -> None:
        """The trial's part in its rung is known."""
        trial = fact.trial
        if fact.retry:
            return
        if fact.status in ("failed", "lost") and trial not in self._over:
            self._failed_in[trial] = self._brackets[self._bracket_of[trial]].rung
        self._resolve(trial, promotable=fact.status == "paused")

    def _resolve(self, trial: int, *, promotable: bool = False) -> None:
        """Note that a trial's part in its rung is known."""
        self._promoted.pop(trial, None)
        bracket = self._brackets[self._bracket_of[trial]]
        if trial not in bracket.pending:
            return
        bracket.pending.remove(trial)
        loss, arrival = self._latest[trial]
        if promotable and loss < math.inf:
            bracket.results.append((loss, arrival, trial))
        self._advance(self._bracket_of[trial])

    def exhausted(self, fact: Exhausted) -> None:
        """Cut the newest bracket to the trials it has got."""
        if self._brackets and not self._brackets[-1].is_full:
            self._brackets[-1].cut_to_size(self._eta)
            self._advance(len(self._brackets) - 1)

    def finished(self, fact: Finished) -> None:
        """Forget who waits: a study that is opened again goes on with its failed trials only."""
        self._promoted.clear()
        for bracket in self._brackets:
            bracket.pending.clear()
            bracket.results.clear()

    def opened(self, fact: Opened) -> None:
        """Wait for the failed trials, if they are tried again, where their rung is undecided."""
        if not fact.retry_failed:
            return
        for trial, rung in self._failed_in.items():
            bracket = self._brackets[self._bracket_of[trial]]
            if bracket.rung == rung:
                bracket.pending.add(trial)
        self._failed_in.clear()

    def _advance(self, number: int) -> None:
        """Decide the bracket's rung if everything in it is known and somebody can go on."""
        bracket = self._brackets[number]
        is_open = bracket.pending or not bracket.is_full or not bracket.results
        if is_open or bracket.is_last_rung:
            return
        size = bracket.rungs[bracket.rung + 1][0]
        promoted = heapq.nsmallest(size, bracket.results)
        bracket.rung += 1
        bracket.results = []
        for rank, (_, _, trial) in enumerate(promoted):
            bracket.pending.add(trial)
            self._promoted[trial] = bracket.rung
            heapq.heappush(self._promotions, (number, bracket.rung, rank, trial))


@dataclass(frozen=True)
class BracketScheduler(Scheduler):
    """What schedulers with fixed rungs have in common.

    Args:
        max_resource: R, the level at which a trial is complete.
        min_resource: the least that is given to a trial. Default 1.
        reduction_factor: eta; the best 1/eta of a rung go on. Default 3.
    """

    max_resource: Resource
    min_resource: Resource = 1
    reduction_factor: float = 3

    def __post_init__(self) -> None:
        check_resources(self.min_resource, self.max_resource)
        check_factor(self.reduction_factor)

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.max_resource

    @property
    def levels(self) -> list[Resource]:
        """Every rung level, lowest first; the last is ``max_resource``."""
        return falling_levels(self.min_resource, self.max_resource, self.reduction_factor)


@dataclass(frozen=True)
class SynchronousScheduler(BracketScheduler):
    """A scheduler that is a cycle of bracket shapes; see `BracketScheduler`."""

    resuming: ClassVar[str] = "promoted"

    @abstractmethod
    def shapes(self) -> list[Ladder]:
        """Return the ladders, in the order in which brackets are handed out."""

    @property
    def default_trials(self) -> int | None:
        """The trials of one cycle of brackets."""
        return sum(shape[0][0] for shape in self.shapes())

    def next(self, history: History) -> Decision | None:
        """Promote from decided rungs, oldest bracket first, else fill the newest bracket."""
        index = self._brackets(history)
        found = index.promotion()
        if found is not None:
            return Resume(*found)
        if history.exhausted:
            return None
        bracket, level = index.opening()
        return Start(level, bracket)

    def remaining(self, history: History) -> int:
        """Return how many trials are in brackets that have not let go of them."""
        return self._brackets(history).remaining

    def _brackets(self, history: History) -> Brackets:
        return history.index(
            self, lambda: Brackets(self.shapes(), self.reduction_factor, history.loss)
        )
