"""DEHB's scheduler: Hyperband's brackets, in which every place is a new trial.

Awad, Mallik, Hutter, "DEHB: Evolutionary Hyperband for Scalable, Robust and Efficient
Hyperparameter Optimization", IJCAI 2021. Its other half is the searcher ``dehb``, which says what
the trials of a higher rung have from those of the rung below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tuneflow.events import Closed, Finished, Launched, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.schedulers.base import Decision, Start
from tuneflow.schedulers.brackets import BracketScheduler, Ladder
from tuneflow.schedulers.hyperband import Hyperband
from tuneflow.trial import Resource


@dataclass(frozen=True)
class DEHB(BracketScheduler):
    """Run Hyperband's brackets, of HpBandSter's sizes, with a new trial in each place.

    Args:
        max_resource: R, the level of the highest rung.
        min_resource: the level of the lowest rung. Default 1.
        reduction_factor: eta. Default 3, as in the paper.

    A trial begins from nothing, runs to the level of its rung and is never resumed, so it needs
    no checkpoint. A rung begins when all trials of the rung below are resolved, whether they
    succeeded or failed. While a rung waits the next bracket begins, but none before the bracket
    in the same place of the cycle before is over.

    A study that does not say how many trials it has runs each bracket once.

    Use it with the searcher ``dehb``. Any other one works too, but knows nothing of rungs.
    """

    type: ClassVar[str] = "dehb"

    @property
    def default_trials(self) -> int | None:
        """The places of one cycle of brackets."""
        return sum(count for shape in self.brackets() for count, _ in shape)

    def brackets(self) -> list[Ladder]:
        """Return ``[[(n_trials, resource), …], …]``, the boldest bracket first."""
        return brackets(self.min_resource, self.max_resource, self.reduction_factor)

    def next(self, history: History) -> Decision | None:
        """Fill the oldest bracket that has a place, else begin one."""
        places = history.index(self, lambda: Places(self.brackets()))
        if history.exhausted:
            return None
        place = places.next()
        return None if place is None else Start(place.level, place.bracket)


def brackets(min_resource: Resource, max_resource: Resource, eta: float) -> list[Ladder]:
    """Return the rungs of each bracket of a cycle, with the sizes of HpBandSter and DEHB."""
    return Hyperband(max_resource, min_resource, eta, sizes="hpbandster").brackets()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new trial belongs.

    Attributes:
        bracket: the number of its bracket; they go on counting from cycle to cycle.
        rung: the position of its rung in the bracket.
        count: how many trials the rung has.
        level: the level of the rung.
        below: the level of the rung below; for the lowest rung its own.
    """

    bracket: int
    rung: int
    count: int
    level: Resource
    below: Resource


@dataclass(slots=True)
class _Bracket:
    """A bracket that has trials to begin, or to wait for."""

    rungs: Ladder
    rung: int = 0
    begun: int = 0
    pending: set[int] = field(default_factory=set)

    @property
    def has_place(self) -> bool:
        return self.begun < self.rungs[self.rung][0]

    def advance(self) -> bool:
        """Go on to the next rung if this one is resolved; return False when there is none."""
        if not self.has_place and not self.pending:
            self.rung, self.begun = self.rung + 1, 0
        return self.rung < len(self.rungs)


class Places(Index):
    """An index of the places that the trials take.

    Trials that do not have the bracket and the level of the next place are another scheduler's;
    they are passed over.

    Args:
        shapes: the rungs of each bracket, used in turn and over again.
    """

    def __init__(self, shapes: list[Ladder]) -> None:
        self.cycle = len(shapes)
        self._shapes = shapes
        self._open: dict[int, _Bracket] = {}
        self._brackets = 0
        self._trials = 0
        self._bracket_of: dict[int, int] = {}

    def next(self) -> Place | None:
        """Return the place of the next trial; None when all brackets wait."""
        for number, bracket in self._open.items():
            if bracket.has_place:
                return _place(number, bracket.rungs, bracket.rung)
        oldest = next(iter(self._open), self._brackets)
        if self._brackets - oldest >= self.cycle:
            return None
        return _place(self._brackets, self._shape(self._brackets), 0)

    def launched(self, fact: Launched) -> None:
        """A new trial takes its place."""
        if fact.trial < self._trials:
            return
        self._trials += 1
        place = self.next()
        if place is None or (place.bracket, place.level) != (fact.bracket, fact.until):
            return
        if place.bracket == self._brackets:
            self._open[place.bracket] = _Bracket(self._shape(place.bracket))
            self._brackets += 1
        bracket = self._open[place.bracket]
        bracket.begun += 1
        bracket.pending.add(fact.trial)
        self._bracket_of[fact.trial] = place.bracket

    def closed(self, fact: Closed) -> None:
        """The trial has come as far as it will, unless it is tried again."""
        if not fact.retry:
            self._resolve(fact.trial)

    def stopped(self, fact: Stopped) -> None:
        """Nobody waits for the trial any longer."""
        self._resolve(fact.trial)

    def finished(self, fact: Finished) -> None:
        """Nobody waits for any trial any longer."""
        for trial in list(self._bracket_of):
            self._resolve(trial)

    def _resolve(self, trial: int) -> None:
        number = self._bracket_of.pop(trial, None)
        if number is not None:
            bracket = self._open[number]
            bracket.pending.remove(trial)
            if not bracket.advance():
                del self._open[number]

    def _shape(self, bracket: int) -> Ladder:
        return self._shapes[bracket % self.cycle]


def _place(bracket: int, rungs: Ladder, rung: int) -> Place:
    count, level = rungs[rung]
    return Place(bracket, rung, count, level, rungs[max(rung - 1, 0)][1])
