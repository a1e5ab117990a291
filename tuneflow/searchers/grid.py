"""Grid search: every combination of values, once and in order."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.trial import Params


@dataclass(frozen=True, kw_only=True)
class Grid(Searcher):
    """Goes through `Space.grid`: the last parameter varies fastest, options follow one another.

    Without points to evaluate, trial n is configuration n of the grid; with k of them, trial
    k + n is. A point that lies on the grid is therefore tried twice. After the last
    configuration there is none, and the study ends.

    Every domain must have countable values: integers, floats with a step, lists. Those of a
    branch's options count too.
    """

    type: ClassVar[str] = "grid"
    multi_objective: ClassVar[bool] = True

    def propose(self, space: Space, history: History, rng: random.Random) -> Params | None:
        """Return the configuration for the next trial, or None after the last."""
        index = len(history.trials) - len(self.points_to_evaluate)
        return space.grid_at(index) if index < space.grid_size() else None

    def check(self, space: Space) -> None:
        """Raise SpecError when the space has a domain whose values cannot be counted."""
        super().check(space)
        try:
            space.grid_size()
        except SpecError as error:
            raise error.under("space") from None

    def trials(self, space: Space) -> int:
        """Return how many points to evaluate and configurations of the grid there are."""
        return len(self.points_to_evaluate) + space.grid_size()
