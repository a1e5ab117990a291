"""What BOHB learns from: the results at each level, and the model of the highest that has one."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tuneflow.events import Closed, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.rng import choose_index, generator
from tuneflow.searchers.cube import Cube, Point
from tuneflow.searchers.kde import Coordinates, Density, bandwidths
from tuneflow.space.domains import Listed
from tuneflow.trial import Params, Resource

Result: TypeAlias = tuple[float, Point]
"""A loss, infinite for a failure, and the point that it belongs to."""

_SMALLEST = 1e-32
"""Densities below are taken for this one."""


@dataclass(frozen=True, slots=True)
class Model:
    """Where good configurations lie, and where the others do.

    Attributes:
        level: the level of the results behind it.
        good: the density of the best results.
        bad: the density of the others.
    """

    level: Resource
    good: Density
    bad: Density

    def badness(self, point: Coordinates) -> float:
        """Return the ratio of the two densities; the smaller, the more promising."""
        return max(self.bad.at(point), _SMALLEST) / max(self.good.at(point), _SMALLEST)


@dataclass(frozen=True, slots=True)
class Split:
    """How results become good and bad ones.

    Attributes:
        percent: how many percent of the results are good.
        least: the fewest on either side.
    """

    percent: int
    least: int

    def sides(self, results: Iterable[Result]) -> tuple[list[Result], list[Result]]:
        """Return the good results and the bad ones, best first; a failure is never good."""
        ranked = sorted(results, key=lambda result: result[0])
        finite = sum(loss < math.inf for loss, _ in ranked)
        count = len(ranked)
        good = min(max(self.least, self.percent * count // 100), finite)
        bad = max(self.least, (100 - self.percent) * count // 100)
        return ranked[:good], ranked[good : good + bad]


class Results(Index):
    """The results of a study at each level, and who runs.

    A report counts at its level. A segment's end counts at the level that it was to reach: with
    the newest value where the trial ended by itself, with infinity where it failed. Segments
    without such a level end at one above all others.

    Args:
        cube: the axes of the space.
        history: tells metric, mode, seed and the maximum resource, and nothing else.
        split: how results become good and bad ones.
        least_width: the smallest bandwidth.
        known: results from elsewhere; they count at the maximum resource.
    """

    def __init__(
        self,
        cube: Cube,
        history: History,
        split: Split,
        least_width: float,
        known: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.cube = cube
        self._metric = history.metric
        self._loss = history.loss
        self._seed = history.seed
        self._split = split
        self._least_width = least_width
        self._categories = [
            domain.size if isinstance(domain, Listed) else 0 for domain in cube.domains.values()
        ]
        self._levels: dict[Resource, dict[int, Result]] = {}
        self._level: Resource = -math.inf
        self._model: Model | None = None
        self._is_fitted = True
        self._changes = 0
        self._points: dict[int, Point] = {}
        self._goals: dict[int, Resource] = {}
        self._latest: dict[int, float] = {}
        self._running: dict[int, Point] = {}
        limit = math.inf if history.max_resource is None else history.max_resource
        for position, result in enumerate(known):
            loss = history.loss({history.metric: result["value"]})
            self._record(limit, -1 - position, (loss, cube.point(result["params"])))

    @property
    def model(self) -> Model | None:
        """The model of the highest level with enough results, or None."""
        if not self._is_fitted:
            self._model, self._is_fitted = self._fitted(), True
        return self._model

    def params(self, point: Coordinates) -> Params:
        """Return the configuration at a point of the model."""
        return self.cube.params(
            [
                (value + 0.5) / count if count else value
                for value, count in zip(point, self._categories, strict=True)
            ]
        )

    def is_running(self, params: Params) -> bool:
        """Whether a trial that runs, or waits for a retry, has this configuration."""
        return self.cube.point(params) in self._running.values()

    def launched(self, fact: Launched) -> None:
        """The trial runs, perhaps with other parameters than before."""
        trial = fact.trial
        if fact.params is not None:
            self._points[trial] = self.cube.point(fact.params)
            self._latest[trial] = math.inf
        self._goals[trial] = math.inf if fact.until is None else fact.until
        self._running[trial] = self._points[trial]

    def reported(self, fact: Reported) -> None:
        """The trial has a result at a level; a report without the metric is none."""
        if self._metric in fact.report.metrics:
            trial, loss = fact.trial, self._loss(fact.report.metrics)
            self._latest[trial] = loss
            self._record(fact.report.resource, trial, (loss, self._points[trial]))

    def stopped(self, fact: Stopped) -> None:
        """The trial will not run on."""
        self._running.pop(fact.trial, None)

    def closed(self, fact: Closed) -> None:
        """The segment's end is a result too."""
        if fact.retry:
            return
        trial, goal = fact.trial, self._goals[fact.trial]
        self._running.pop(trial, None)
        loss = math.inf if fact.status in ("failed", "lost") else self._latest[trial]
        is_end = fact.status == "completed" or (fact.status == "paused" and goal < math.inf)
        is_new = is_end and trial not in self._levels.get(goal, ())
        if is_new or fact.status in ("failed", "lost"):
            self._record(goal, trial, (loss, self._points[trial]))

    def _record(self, level: Resource, trial: int, result: Result) -> None:
        """Note a trial's result at a level, in place of an earlier one."""
        self._levels.setdefault(level, {})[trial] = result
        if level > self._level and self._is_enough(*self._sides(level)):
            self._level = level
        if level == self._level:
            self._changes += 1
            self._is_fitted = False

    def _sides(self, level: Resource) -> tuple[list[Result], list[Result]]:
        return self._split.sides(self._levels[level].values())

    def _is_enough(self, good: list[Result], bad: list[Result]) -> bool:
        return min(len(good), len(bad)) > len(self.cube)

    def _fitted(self) -> Model | None:
        good, bad = self._sides(self._level)
        if not self._is_enough(good, bad):
            return None  # a trial was cloned, and what it is now has failed
        # Of what the model is made of and of nothing else, as the one from before may be kept.
        rng = generator(self._seed, "impute", repr(self._level), self._changes)
        return Model(self._level, self._density(good, rng), self._density(bad, rng))

    def _density(self, results: list[Result], rng: random.Random) -> Density:
        points = list(map(self._coordinates, imputed([point for _, point in results], rng)))
        widths = bandwidths(points, self._categories, self._least_width)
        return Density(points, self._categories, widths)

    def _coordinates(self, point: Sequence[float]) -> Coordinates:
        return tuple(
            int(unit * count) if count else unit
            for unit, count in zip(point, self._categories, strict=True)
        )


def imputed(points: Sequence[Point], rng: random.Random) -> list[list[float]]:
    """Return the points with a value for each axis.

    A point that lacks some takes them from another one that has the first of them, and so on; a
    value that no point has is drawn uniformly.
    """
    columns = zip(*points, strict=True)
    donors = [[row for row, unit in enumerate(column) if unit is not None] for column in columns]
    return [_filled(point, points, donors, rng) for point in points]


def _filled(
    point: Point, points: Sequence[Point], donors: Sequence[Sequence[int]], rng: random.Random
) -> list[float]:
    filled = list(point)
    while None in filled:
        axis = filled.index(None)
        if donors[axis]:
            donor = points[donors[axis][choose_index(rng, len(donors[axis]))]]
            pairs = zip(filled, donor, strict=True)
            filled = [theirs if mine is None else mine for mine, theirs in pairs]
        else:
            filled[axis] = rng.random()
    return [unit for unit in filled if unit is not None]
