"""The populations that DEHB evolves: one for each level, rebuilt from the facts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tuneflow.events import Closed, Fact, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.jsonio import dumps
from tuneflow.rng import generator
from tuneflow.schedulers.brackets import Ladder
from tuneflow.schedulers.dehb import Place, Places
from tuneflow.searchers.cube import Cube, Point
from tuneflow.searchers.evolution import Individual
from tuneflow.trial import Params, Resource

_SIZE: Final = 20
"""How large a population is at a level that no bracket has."""


class Population:
    """The individuals of one level. Each new trial challenges one of them, in turn.

    Args:
        individuals: those that it begins with; they have no loss yet.

    Attributes:
        individuals: the individuals.
        losses: their losses; infinity before the first.
        trials: the trial that each one comes from; None for one that it began with.
        begun: how many challengers there have been.
    """

    def __init__(self, individuals: Iterable[Individual]) -> None:
        self.individuals = list(individuals)
        self.losses = [math.inf] * len(self.individuals)
        self.trials: list[int | None] = [None] * len(self.individuals)
        self.begun = 0

    @property
    def next(self) -> int:
        """Which individual the next trial challenges."""
        return self.begun % len(self.individuals)

    @property
    def is_young(self) -> bool:
        """Whether some individuals have not been challenged yet."""
        return self.begun < len(self.individuals)

    def ranking(self) -> list[int]:
        """Return the positions of the individuals, the best first."""
        return sorted(range(len(self.losses)), key=self.losses.__getitem__)

    def challenge(self, position: int, individual: Individual, loss: float, trial: int) -> None:
        """Let a challenger take the place of an individual, unless it is worse."""
        if loss < math.inf and loss <= self.losses[position]:
            self.individuals[position] = individual
            self.losses[position] = loss
            self.trials[position] = trial


class Populations(Index):
    """The population of each level, and what has been tried there.

    A trial belongs to the level that its first segment is to reach. It challenges an individual
    when it is launched, and is compared with it when that segment ends.

    Args:
        cube: the axes of the space.
        history: tells metric, mode and seed, and nothing else.
        shapes: the rungs of each bracket of the scheduler; none when it is another one.
        known: results from elsewhere: what each population begins with, the best first.
    """

    def __init__(
        self,
        cube: Cube,
        history: History,
        shapes: list[Ladder],
        known: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.cube = cube
        self.places = Places(shapes)
        self._metric = history.metric
        self._loss = history.loss
        self._seed = history.seed
        self._sizes: dict[Resource | None, int] = {}
        for count, level in (rung for shape in shapes for rung in shape):
            self._sizes[level] = max(count, self._sizes.get(level, 0))
        # In an order that follows from the facts; populations are also made when asked for.
        self._levels = dict.fromkeys(self._sizes)
        ranked = sorted(known, key=lambda result: self._loss({self._metric: result["value"]}))
        self._known = [
            self._individual(cube.point(result["params"]), "known", position)
            for position, result in enumerate(ranked)
        ]
        self._populations: dict[Resource | None, Population] = {}
        self._params: list[Params] = []
        self._texts: list[str] = []
        self._begun: set[tuple[Resource | None, str]] = set()
        self._challenged: dict[int, tuple[Population, int]] = {}
        self._latest: dict[int, float] = {}
        self._running: dict[int, str] = {}

    def at(self, level: Resource | None) -> Population:
        """Return the population of a level."""
        if level not in self._populations:
            size = self._sizes.get(level, _SIZE)
            fresh = (self.random(level, position) for position in range(size))
            known = self._known[:size]
            self._populations[level] = Population([*known, *fresh][:size])
        return self._populations[level]

    def random(self, level: Resource | None, position: int) -> Individual:
        """Return the individual that a level begins with at a position: a uniform draw."""
        rng = generator(self._seed, "dehb", repr(level), position)
        return tuple(rng.random() for _ in range(len(self.cube)))

    def everybody(self) -> list[Individual]:
        """Return the individuals of all levels that brackets have, or that trials began at."""
        return [individual for level in self._levels for individual in self.at(level).individuals]

    def parents(self, level: Resource | None, count: int | None) -> list[Individual]:
        """Return the best individuals of a level; None returns all."""
        population = self.at(level)
        return [population.individuals[position] for position in population.ranking()[:count]]

    def promotion(self, place: Place) -> Params | None:
        """Return the best configuration of the rung below that its level has not seen yet."""
        population = self.at(place.below)
        for position in population.ranking():
            trial = population.trials[position]
            if trial is not None and (place.level, self._texts[trial]) not in self._begun:
                return self._params[trial]
        return None

    def is_running(self, params: Params) -> bool:
        """Whether a trial that runs, or waits for a retry, has this configuration."""
        return dumps(params) in self._running.values()

    def apply(self, fact: Fact) -> None:
        """Take in the next fact."""
        super().apply(fact)
        self.places.apply(fact)

    def launched(self, fact: Launched) -> None:
        """A new trial challenges somebody."""
        trial = fact.trial
        if trial == len(self._params):
            self._begin(trial, fact.params or {}, fact.until)
        text = self._texts[trial] if fact.params is None else dumps(fact.params)
        self._running[trial] = text

    def _begin(self, trial: int, params: Params, level: Resource | None) -> None:
        population = self.at(level)
        self._levels[level] = None
        self._params.append(params)
        self._texts.append(dumps(params))
        self._begun.add((level, self._texts[trial]))
        self._challenged[trial] = population, population.next
        self._latest[trial] = math.inf
        population.begun += 1

    def reported(self, fact: Reported) -> None:
        """Note the trial's newest value."""
        if self._metric in fact.report.metrics:
            self._latest[fact.trial] = self._loss(fact.report.metrics)

    def stopped(self, fact: Stopped) -> None:
        """The trial will not run on."""
        self._running.pop(fact.trial, None)

    def closed(self, fact: Closed) -> None:
        """The trial is compared with whom it challenged; a failed one when a retry succeeds."""
        if fact.retry:
            return
        trial = fact.trial
        self._running.pop(trial, None)
        if fact.status in ("failed", "lost") or trial not in self._challenged:
            return
        population, position = self._challenged.pop(trial)
        individual = self._individual(self.cube.point(self._params[trial]), "unused", trial)
        population.challenge(position, individual, self._latest[trial], trial)

    def _individual(self, point: Point, purpose: str, number: int) -> Individual:
        """Return a point with uniform draws for the parameters that its branches leave out."""
        rng = generator(self._seed, "dehb", purpose, number)
        return tuple(rng.random() if unit is None else unit for unit in point)
