"""What searchers have in common that ask another searcher."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Proposal, Searcher
from tuneflow.space import Space


@dataclass(frozen=True, kw_only=True)
class Wrapper(Searcher):
    """The base of searchers that ask another one.

    Args:
        searcher: the other one. Points to evaluate and known results are handed on to it; they
            come before its own.
    """

    searcher: Searcher

    def __post_init__(self) -> None:
        given: Any = self.searcher
        if not isinstance(given, Searcher):
            problem = f"{given!r} is not a searcher"
            raise SpecError("searcher.searcher", problem, "give an instance, such as Random()")
        if self.points_to_evaluate or self.known_results:
            self._hand_on()

    def _hand_on(self) -> None:
        inner = self.searcher
        points = map(self._within, self.points_to_evaluate)
        known = ({**each, "params": self._within(each["params"])} for each in self.known_results)
        handed = replace(
            inner,
            points_to_evaluate=(*points, *inner.points_to_evaluate),
            known_results=(*known, *inner.known_results),
        )
        for name, value in (
            ("searcher", handed),
            ("points_to_evaluate", ()),
            ("known_results", ()),
        ):
            object.__setattr__(self, name, value)

    def _within(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the other searcher knows of a configuration."""
        return params

    @property
    def ahead(self) -> bool:
        """As the other one."""
        return self.searcher.ahead

    @property
    def minds_level(self) -> bool:
        """As the other one."""
        return self.searcher.minds_level

    def is_given(self, number: int) -> bool:
        """Whether no thought is needed for the trial of this number."""
        return self.searcher.is_given(number)

    def propose(self, space: Space, history: History, rng: random.Random) -> Proposal:
        """Return the next configuration, for a trial that runs to its own end."""
        return self.propose_for(space, history, rng, None)

    def check(self, space: Space) -> None:
        """Raise SpecError when the other searcher cannot work on the space."""
        self.searcher.check(space)

    def check_goals(self, metrics: int, bounds: int) -> None:
        """Raise SpecError when the other searcher cannot work for the study."""
        self.searcher.check_goals(metrics, bounds)

    def check_scheduler(self, scheduler: Scheduler) -> None:
        """Raise SpecError when the other searcher cannot work beside it."""
        self.searcher.check_scheduler(scheduler)

    def prepare(self) -> None:
        """Import what proposing needs."""
        self.searcher.prepare()

    def trials(self, space: Space) -> int | None:
        """Return how many configurations there are in all; None when there is no end."""
        return self.searcher.trials(space)


def require_count(field: str, value: Any) -> None:
    """Raise a SpecError for a searcher's field unless it is a whole number of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpecError(f"searcher.{field}", f"{value!r} is not a whole number of 1 or more")
