"""DEHB's searcher: differential evolution with a population for each level.

Awad, Mallik, Hutter, "DEHB: Evolutionary Hyperband for Scalable, Robust and Efficient
Hyperparameter Optimization", IJCAI 2021. Its other half is the scheduler ``dehb``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.schedulers import dehb as scheduling
from tuneflow.schedulers.base import Scheduler
from tuneflow.schedulers.brackets import Ladder
from tuneflow.schedulers.dehb import Place, brackets
from tuneflow.searchers.base import Searcher, sampled
from tuneflow.searchers.cube import Cube
from tuneflow.searchers.dehb_populations import Populations
from tuneflow.searchers.evolution import PARENTS, Individual, crossed, inside, mutant
from tuneflow.space import Space
from tuneflow.space.values import is_number
from tuneflow.trial import Params, Resource

_TRIES: Final = 20
"""How often an offspring is made anew because a running trial has its configuration."""


@dataclass(frozen=True, kw_only=True)
class DEHB(Searcher):
    """Evolves one population for each rung level of the scheduler ``dehb``.

    A new trial challenges an individual of its level's population, one after the other, and
    takes its place unless it is worse. Its configuration is

    * in the lowest rung of the first bracket: random;
    * in the higher rungs of the first cycle of brackets: the best of the rung below that this
      level has not seen, as in Hyperband, but evaluated anew;
    * anywhere else an offspring of the individual that it challenges and of a mutant. The mutant
      is ``a + F * (b - c)``, of three other individuals among the best of the rung below (in a
      bracket's lowest rung: of its own level), as many as the rung has trials; where these are
      fewer than three, mutants of all levels join them. The offspring has each value from the
      mutant with the probability CR, and at least one. What lies out of bounds is drawn anew.

    All that happens in the unit cube of all parameters. A category has an equal share of its
    axis. A parameter that a configuration's branches leave out has a random value there.

    Failed trials and unusable values change no population. ``known_results`` are what the
    populations begin with, the best first. A configuration that is running is not proposed
    again, as long as some tries find another one.

    Beside another scheduler each level at which trials first pause has a population of its own,
    of 20 where no bracket has that level: plain differential evolution, without promotions.

    Args:
        mutation_factor: F, from 0 to 2. Default 0.5.
        crossover_probability: CR, from 0 to 1. Default 0.5.
        min_resource: what the scheduler has; beside ``dehb`` it must be the same. Default 1.
        reduction_factor: likewise. Default 3.

    The defaults and the sizes of populations are those of the authors' package, dehb.
    """

    type: ClassVar[str] = "dehb"

    mutation_factor: float = 0.5
    crossover_probability: float = 0.5
    min_resource: Resource = 1
    reduction_factor: float = 3

    def __post_init__(self) -> None:
        self._require("mutation_factor", 0 <= self._number("mutation_factor") <= 2, "from 0 to 2")
        crossing = self._number("crossover_probability")
        self._require("crossover_probability", 0 <= crossing <= 1, "from 0 to 1")
        self._require("min_resource", 0 < self._number("min_resource") < math.inf, "above 0")
        factor = self._number("reduction_factor")
        self._require("reduction_factor", 1 < factor < math.inf, "above 1")

    def _number(self, name: str) -> float:
        value: Any = getattr(self, name)
        return float(value) if is_number(value) else math.nan

    def _require(self, name: str, condition: bool, limits: str) -> None:
        if not condition:
            problem = f"{getattr(self, name)!r} is not a number {limits}"
            raise SpecError(f"searcher.{name}", problem)

    def check_scheduler(self, scheduler: Scheduler) -> None:
        """Raise SpecError when the other half has other brackets than this one believes."""
        if not isinstance(scheduler, scheduling.DEHB):
            return
        for name in ("min_resource", "reduction_factor"):
            mine, theirs = getattr(self, name), getattr(scheduler, name)
            if mine != theirs:
                problem = f"{mine!r} is not the {theirs!r} that the scheduler 'dehb' has"
                raise SpecError(f"searcher.{name}", problem, "give both the same")

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return a configuration for a trial that runs to the highest level."""
        return self.propose_for(space, history, rng, history.max_resource)

    def propose_for(
        self, space: Space, history: History, rng: random.Random, until: Resource | None
    ) -> Params:
        """Return a configuration for a trial that runs to the level ``until``."""
        # An identity is good for a key because the index holds on to both objects.
        key = ("dehb", id(self), id(space))
        populations = history.index(key, lambda: _Kept(self, Cube(space), history))
        place = populations.places.next()
        if place is not None and place.level != until:
            place = None
        for params in self._candidates(populations, place, until, rng):
            if not populations.is_running(params):
                break
        return params

    def _candidates(
        self,
        populations: Populations,
        place: Place | None,
        level: Resource | None,
        rng: random.Random,
    ) -> Iterator[Params]:
        """Yield what may be proposed, the first choice first; at last, random configurations."""
        population, cube = populations.at(level), populations.cube
        if place is not None and place.rung > 0 and place.bracket < populations.places.cycle:
            promoted = populations.promotion(place)
            if promoted is not None:
                yield promoted
        elif population.is_young and (place is None or place.bracket == 0):
            yield cube.params(population.individuals[population.next])
        target = population.individuals[population.next]
        below, count = (level, None) if place is None else (place.below, place.count)
        parents = populations.parents(below, count)
        for _ in range(_TRIES):
            yield cube.params(self._offspring(target, parents, populations, rng))
        for _ in range(_TRIES):
            yield cube.space.build(sampled(rng))

    def _offspring(
        self,
        target: Individual,
        parents: Sequence[Individual],
        populations: Populations,
        rng: random.Random,
    ) -> Individual:
        missing = PARENTS - len(parents)
        if missing > 0:
            everybody = populations.everybody()
            fresh = [self._mutant(target, everybody, rng) for _ in range(missing + 1)]
            parents = [*parents, *fresh]
        donor = self._mutant(target, parents, rng)
        return inside(crossed(target, donor, self.crossover_probability, rng), rng)

    def _mutant(
        self, target: Individual, parents: Sequence[Individual], rng: random.Random
    ) -> Individual:
        return mutant(target, parents, self.mutation_factor, rng)


class _Kept(Populations):
    """The populations that a searcher evolves; it holds on to the searcher."""

    def __init__(self, searcher: DEHB, cube: Cube, history: History) -> None:
        self._searcher = searcher
        shapes: list[Ladder] = []
        limit = history.max_resource
        if limit is not None and searcher.min_resource <= limit:
            shapes = brackets(searcher.min_resource, limit, searcher.reduction_factor)
        super().__init__(cube, history, shapes, searcher.known_results)
