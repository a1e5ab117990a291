"""A warm start: what past studies say to a new one before its first trial has run.

Two things are taken from them. The champion and some of the best and of the most different good
configurations are tried first: Feurer, Springenberg and Hutter, "Initializing Bayesian
Hyperparameter Optimization via Meta-Learning", AAAI 2015, show how much such first points do. And
past observations are given to the searcher as known results, of which old ones should count less.
A searcher takes no weights, so each observation is kept with the probability that would have been
its weight: the density that a model estimates from what is kept is, on average, the weighted one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tuneflow.errors import SpecError
from tuneflow.retune.diverse import good_and_diverse
from tuneflow.retune.mapping import SpaceMap
from tuneflow.retune.observations import Observation, observations
from tuneflow.rng import generator
from tuneflow.searchers.base import sampled
from tuneflow.space import Json, Space
from tuneflow.space.values import canonical
from tuneflow.trial import Mode, Params

__all__ = ["Observation", "Past", "WarmStart", "observations", "warm_start"]

_BEST: Final = 4
"""One in so many known results are the very best. Models take about a tenth of them for good."""


@dataclass(frozen=True)
class Past:
    """What a past study has found.

    Attributes:
        space: its space.
        observations: what it has found there.
        shift: what is added to its values to make them comparable with today's: how the
            champion's own value has moved since. Default 0.
        age: how many retunes lie between it and today's. Default 0.
    """

    space: Space
    observations: Sequence[Observation]
    shift: float = 0.0
    age: int = 0


@dataclass(frozen=True)
class WarmStart:
    """What a searcher is told before it begins.

    Attributes:
        points_to_evaluate: configurations to try first, perhaps partial; the champion's is first.
        known_results: past results, each ``{"params": …, "value": …}``, the oldest first.
        notes: sentences on what was taken, and what became of the space.
    """

    points_to_evaluate: tuple[Params, ...] = ()
    known_results: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def warm_start(
    past: Sequence[Past],
    space: Space,
    *,
    mode: Mode,
    champion: Mapping[str, Any] | None = None,
    champion_space: Space | None = None,
    points: int = 8,
    discount: float = 0.5,
    most: int = 200,
    defaults: Mapping[str, Json] | None = None,
    seed: int = 0,
) -> WarmStart:
    """Return what past studies say to one over ``space``.

    Args:
        past: what they have found.
        space: today's space.
        mode: whether the metric is to be small or large.
        champion: the configuration that is tried first, if any.
        champion_space: where it lies; today's space by default.
        points: how many past configurations are tried after it, at most. Default 8.
        discount: what a result of the study before this one counts, compared with one of today,
            and for each retune before that once more. 0 gives no known results, 1 gives all.
            Default 0.5.
        most: how many known results there are at most: a quarter of them the best, the others
            spread evenly over the ranks of the rest. Default 200.
        defaults: see `tuneflow.retune.mapping.SpaceMap`.
        seed: what is left out and what is drawn follows from it. Default 0.

    Raises:
        SpecError: a default does not fit the space, or ``discount`` is not from 0 to 1.
    """
    if not 0 <= discount <= 1:
        raise SpecError("discount", f"{discount!r} is not a number from 0 to 1")
    given = dict(defaults or {})
    sources = [_Source(SpaceMap(one.space, space, given), one) for one in past]
    first = SpaceMap(champion_space or space, space, given).point(champion) if champion else None
    tried = _points(sources, space, mode, [first] if first else [], points)
    intake = _Intake(discount, seed)
    for source in sorted(sources, key=lambda source: -source.past.age):
        intake.take(source)
    results = _selected(list(intake.found.values()), mode, most)
    notes = [_said_of_points(tried, first is not None), *intake.notes(results)]
    return WarmStart(
        tuple(tried),
        tuple({"params": one.config, "value": one.value} for one in results),
        (*notes, *_said_of_spaces(sources)),
    )


@dataclass(frozen=True)
class _Source:
    """A past study, and how its space maps to today's."""

    mapped: SpaceMap
    past: Past


@dataclass(frozen=True)
class _Result:
    """A configuration of today's space and all past values of it, aligned."""

    config: Params
    values: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """What it is known to be worth."""
        return statistics.fmean(self.values)


def _ranked(results: Iterable[_Result], mode: Mode) -> list[_Result]:
    """Return results with the best first, the earlier one first among equals."""
    return sorted(results, key=lambda result: result.value if mode == "min" else -result.value)


def _points(
    sources: Iterable[_Source], space: Space, mode: Mode, first: list[Params], count: int
) -> list[Params]:
    """Return the points to evaluate: ``first``, and the best and most different past ones."""
    found: dict[str, _Result] = {}
    for source in sources:
        for seen in source.past.observations:
            point = source.mapped.point(seen.config)
            if point is not None and point not in first:
                known = found.setdefault(canonical(point), _Result(point))
                known.values.append(seen.value + source.past.shift)
    ranked = [result.config for result in _ranked(found.values(), mode)]
    return first + good_and_diverse(space, ranked, count, first)


@dataclass(slots=True)
class _Intake:
    """Takes in past observations, those of the oldest study first, and counts what becomes of them.

    Attributes:
        discount: the share that is kept of each retune's.
        seed: what the draws follow from.
        found: results by configuration, in the order in which each was last seen.
        seen: how many observations there were.
        outside: how many of them lie outside of today's space.
        faded: how many were left out because they are old.
    """

    discount: float
    seed: int
    found: dict[str, _Result] = field(default_factory=dict)
    seen: int = 0
    outside: int = 0
    faded: int = 0

    def take(self, source: _Source) -> None:
        """Take in what one study has found."""
        age = source.past.age
        keep, draw = (generator(self.seed, "warm start", what, age) for what in ("keep", "draw"))
        weight = self.discount ** (age + 1)
        for observed in source.past.observations:
            self.seen += 1
            is_kept = keep.random() < weight
            config = source.mapped.result(observed.config, sampled(draw))
            if config is None:
                self.outside += 1
            elif not is_kept:
                self.faded += 1
            else:
                self._add(config, observed.value + source.past.shift)

    def _add(self, config: Params, value: float) -> None:
        key = canonical(config)
        # Models weigh what comes late more, so a configuration moves to where it was last seen.
        result = self.found[key] = self.found.pop(key, _Result(config))
        result.values.append(value)

    def notes(self, results: Sequence[_Result]) -> Iterator[str]:
        """Yield sentences on what became of the observations."""
        used = sum(len(result.values) for result in results)
        yield f"past results that the searcher knows: {used} of {self.seen}"
        surplus = self.seen - self.outside - self.faded - used
        for count, why in (
            (self.outside, "outside of today's space"),
            (self.faded, "left out because the past counts less than today"),
            (surplus, "left out because there would be too many"),
        ):
            if count:
                yield f"past results {why}: {count}"


def _selected(results: list[_Result], mode: Mode, most: int) -> list[_Result]:
    """Return at most so many results, in their order: the best, and of all ranks below."""
    if len(results) <= most:
        return results
    ranked = _ranked(results, mode)
    best = most // _BEST
    rest, count = ranked[best:], most - best
    spread = [rest[(2 * index + 1) * len(rest) // (2 * count)] for index in range(count)]
    chosen = {id(result) for result in (*ranked[:best], *spread)}
    return [result for result in results if id(result) in chosen]


def _said_of_points(tried: Sequence[Params], has_champion: bool) -> str:
    champion = ", after the champion's" if has_champion else ""
    return f"past configurations that are tried first: {len(tried) - has_champion}{champion}"


def _said_of_spaces(sources: Iterable[_Source]) -> Iterator[str]:
    """Yield a sentence for each way in which a parameter has changed."""
    changes = (change for source in sources for change in source.mapped.changes)
    return iter(dict.fromkeys(str(change) for change in changes if change.kind != "same"))
