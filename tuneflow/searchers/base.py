"""What a searcher is: something that proposes the next configuration.

A searcher is a frozen value. It reads the history, in which the trials that are still running
stand as pending, and draws from a generator that is made for this one proposal; so it has
nothing to save or to lose. A library that keeps a state of its own sits behind an index of the
history, which is rebuilt from the facts.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.schedulers.base import to_json
from tuneflow.space import Domain, Space
from tuneflow.space.values import is_number
from tuneflow.trial import Params


@dataclass(frozen=True, kw_only=True)
class Searcher(ABC):
    """Proposes configurations.

    Args:
        points_to_evaluate: configurations to try first, in this order. A point may leave
            parameters out; they are drawn at random.
        known_results: results from elsewhere to learn from, each ``{"params": …, "value": …}``
            with ``value`` in the unit of the study's metric. They are no trials of this study.

    The laws, which `tuneflow.testing.SearcherSuite` checks for any searcher: a proposal lies in
    the space; it is a function of space, history and generator alone, so a searcher that was
    made anew proposes the same; failed trials and unusable values do no harm.
    """

    type: ClassVar[str]
    """The name that study files use."""

    points_to_evaluate: tuple[Mapping[str, Any], ...] = ()
    known_results: tuple[Mapping[str, Any], ...] = ()

    @abstractmethod
    def propose(self, space: Space, history: History, rng: random.Random) -> Params | None:
        """Return the next configuration, or None when there is none left."""

    def suggest(self, space: Space, history: History) -> Params | None:
        """Return the configuration of the next trial: the given points first."""
        number = len(history.trials)
        rng = generator(history.seed, "suggest", number)
        if number < len(self.points_to_evaluate):
            return space.complete(self.points_to_evaluate[number], sampled(rng))
        return self.propose(space, history, rng)

    def check(self, space: Space) -> None:
        """Raise SpecError when this searcher cannot work on the space."""
        for position, point in enumerate(self.points_to_evaluate):
            try:
                space.complete(point, lambda _, domain: domain.from_unit(0.0))
            except SpecError as error:
                raise error.under(f"searcher.points_to_evaluate[{position}]") from None
        for position, known in enumerate(self.known_results):
            field = f"searcher.known_results[{position}]"
            if set(known) != {"params", "value"}:
                raise SpecError(field, f"{dict(known)!r} is not {{'params': …, 'value': …}}")
            value, outside = known["value"], space.explain(known["params"])
            if not is_number(value) or not math.isfinite(value):
                problem = f"{value!r} is not a finite number"
                raise SpecError(f"{field}.value", problem, "leave this result out")
            if outside is not None:
                raise SpecError(f"{field}.params", outside)

    def prepare(self) -> None:  # noqa: B027 - most searchers need nothing
        """Import what proposing needs. Raises MissingDependencyError before any trial runs."""

    def trials(self, space: Space) -> int | None:
        """Return how many configurations there are in all; None when there is no end."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the type, and every field that is set."""
        return to_json(self)


def sampled(rng: random.Random) -> Callable[[str, Domain], Any]:
    """Return a chooser, for `Space.build`, that draws each value from its domain's prior."""
    return lambda _, domain: domain.from_unit(rng.random())
