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
from enum import Enum
from typing import Any, ClassVar, Final, Literal, TypeAlias

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.schedulers.base import Scheduler, to_json
from tuneflow.space import Domain, Space
from tuneflow.space.values import is_number
from tuneflow.trial import Params, Resource

SEVERAL: Final = "use tpe, random, sobol or grid, or optuna with nsgaii, nsgaiii or gp"
"""Searchers that take several metrics."""


class Later(Enum):
    """The type of `LATER`."""

    LATER = "later"


LATER: Final = Later.LATER
"""What stands for a configuration that will come, but not now."""

Proposal: TypeAlias = Params | Literal[Later.LATER] | None
"""A configuration; None when there is none left; or `LATER`."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The configuration of a new trial, and where it comes from.

    Attributes:
        params: the configuration.
        late: whether it was drawn at random because the searcher took too long.
    """

    params: Params
    late: bool = False


Suggested: TypeAlias = Suggestion | Literal[Later.LATER] | None
"""A suggestion; None when there will be no more; or `LATER`."""


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

    multi_objective: ClassVar[bool] = False
    """Whether it takes a study of several metrics."""

    constrained: ClassVar[bool] = False
    """Whether it heeds the bounds that the study sets; one that does not ignores them."""

    points_to_evaluate: tuple[Mapping[str, Any], ...] = ()
    known_results: tuple[Mapping[str, Any], ...] = ()

    @property
    def ahead(self) -> bool:
        """Whether a proposal takes so long that it should be made while trials run.

        It is then made in a thread, over what is known by then; `tuneflow.ahead` says how. Only
        for a searcher that goes by the facts alone: what is proposed may be launched after more
        has happened, or never.
        """
        return False

    @property
    def minds_level(self) -> bool:
        """Whether a proposal depends on the level at which its trial is to pause first."""
        return type(self).propose_for is not Searcher.propose_for

    def is_given(self, number: int) -> bool:
        """Whether no thought is needed for the trial of this number."""
        return number < len(self.points_to_evaluate)

    @abstractmethod
    def propose(self, space: Space, history: History, rng: random.Random) -> Proposal:
        """Return the next configuration, or None when there is none left.

        `LATER` holds new trials back until more is known. It may be said only while a trial runs
        or waits for a retry: its end is then what changes the answer.
        """

    def propose_for(
        self, space: Space, history: History, rng: random.Random, until: Resource | None
    ) -> Proposal:
        """Return the next configuration, for a trial whose first level is ``until``.

        For a searcher that is one half of an algorithm and must know what its scheduler asks
        for. All others leave it to `propose`.
        """
        return self.propose(space, history, rng)

    def suggest(self, space: Space, history: History, until: Resource | None = None) -> Proposal:
        """Return the configuration of the next trial: the given points first.

        Args:
            space: the space.
            history: what has happened so far.
            until: the level at which the trial is to pause first; None is its own end.
        """
        number = len(history.trials)
        rng = generator(history.seed, "suggest", number)
        if number < len(self.points_to_evaluate):
            return space.complete(self.points_to_evaluate[number], sampled(rng))
        proposed = self.propose_for(space, history, rng, until)
        if proposed is LATER and not (history.running or history.retries):
            raise RuntimeError(
                f"the searcher '{self.type}' waits, and there is nothing to wait for"
            )
        return proposed

    def late(self, space: Space, history: History) -> Proposal:
        """Return a configuration for when a proposal takes too long: a draw from the priors."""
        return space.build(sampled(generator(history.seed, "late", len(history.trials))))

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

    def check_goals(self, metrics: int, bounds: int) -> None:
        """Raise SpecError when this searcher cannot work for a study.

        Args:
            metrics: how many metrics the study optimises.
            bounds: how many constraints it has.
        """
        if metrics > 1 and not self.multi_objective:
            problem = f"'{self.type}' optimises one metric, and this study has {metrics}"
            raise SpecError("searcher", problem, SEVERAL)
        if self.known_results and (metrics > 1 or (bounds and self.constrained)):
            problem = "a known result has one value; this study has other metrics that matter"
            raise SpecError("searcher.known_results", problem, "leave them out")

    def check_scheduler(self, scheduler: Scheduler) -> None:  # noqa: B027 - most go with any
        """Raise SpecError when this searcher cannot work beside the study's scheduler."""

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
