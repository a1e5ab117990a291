"""A searcher whose every proposal tells what it knew, and the driver's side of asking it ahead."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tests.machine import Machine
from tuneflow.ahead import Ahead
from tuneflow.events import Fact, Launched, Opened
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.searchers.base import LATER, Proposal, Searcher
from tuneflow.space import Space


@dataclass(frozen=True, kw_only=True)
class Thoughtful(Searcher):
    """Draws what follows from the number of trials and of ends that it knows.

    Args:
        last: proposes nothing from this trial on.
        held: waits while so many trials run.
        meanwhile: is called during each proposal.
        minds: whether the level at which the trial pauses first matters.
    """

    type: ClassVar[str] = "thoughtful"

    last: int | None = None
    held: int | None = None
    meanwhile: Any = None
    minds: bool = False

    @property
    def ahead(self) -> bool:
        return True

    @property
    def minds_level(self) -> bool:
        return self.minds

    def propose_for(self, space, history, rng, until) -> Proposal:
        if self.meanwhile is not None:
            self.meanwhile()
        if self.held is not None and len(history.running) >= self.held:
            return LATER
        if self.last is not None and len(history.trials) >= self.last:
            return None
        return thought(history, until if self.minds else None)

    def propose(self, space: Space, history: History, rng: random.Random) -> Proposal:
        return self.propose_for(space, history, rng, None)


def thought(history: History, until: Any = None) -> dict[str, Any]:
    """Return what is proposed over a history."""
    key = (len(history.trials), history.closings, str(until))
    return {"x": generator(history.seed, "thought", *key).random()}


class Thinking(Machine):
    """A study that is decided ahead of time; you say when the thread thinks, and what time it is.

    Args:
        scheduler: the study's.
        seconds: how long a proposal takes.
        facts: what has happened before.
        changes: fields of the study.

    Attributes:
        time: the seconds of its clock.
        woken: how often the driver was woken.
    """

    def __init__(
        self, scheduler: Any = None, *, seconds: float = 0.6, facts: Any = (), **changes: Any
    ) -> None:
        searcher = changes.pop("searcher", Thoughtful())
        searcher = replace(searcher, meanwhile=lambda: self.passes(seconds))
        super().__init__(scheduler, searcher=searcher, **{"trials": 50, **changes})
        self.history.extend(facts or [Opened(1)])
        self.time = 0.0
        self.woken = 0
        self.ahead = Ahead(self.study, self.history, self._wake, lambda: self.time)

    def _wake(self) -> None:
        self.woken += 1

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def decide(self) -> list[Fact]:
        return self.ahead.decide(self.slots)

    def think(self) -> bool:
        """Let the thread think if it was told to; return whether it was."""
        is_told = False
        while self.ahead._signal.acquire(blocking=False):
            is_told = True
        if is_told:
            self.ahead.think()
        return is_told

    def begun(self) -> list[Launched]:
        """Decide, and return the launches of new trials."""
        return [fact for fact in self.decide() if isinstance(fact, Launched) and not fact.segment]
