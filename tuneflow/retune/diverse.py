"""Chooses configurations that are good, and some that are good in another way.

How far two are apart is Gower's measure for mixed data ("A General Coefficient of Similarity and
Some of Its Properties", Biometrics 1971): each parameter adds the distance of the two numbers
in the unit interval of its prior, or 0 or 1 for values without an order; one that only one of
them has adds 1. The farthest next point is chosen greedily (Gonzalez, "Clustering to Minimize the
Maximum Intercluster Distance", 1985), among the better half only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneflow.space import Space
from tuneflow.space.domains import Listed
from tuneflow.space.values import canonical
from tuneflow.space.walk import flatten
from tuneflow.trial import Params

Coordinates = Mapping[str, float | str]
"""Where a configuration lies: a number in [0, 1), or a name, for each parameter that it has."""


def good_and_diverse(
    space: Space, ranked: Sequence[Params], count: int, given: Sequence[Params] = ()
) -> list[Params]:
    """Return the best configurations, and as many that lie far from them and from each other.

    Args:
        space: where they lie.
        ranked: configurations, complete or partial, the best first.
        count: how many at most. The larger half are the very best.
        given: configurations that are taken already.
    """
    best = (count + 1) // 2
    chosen = list(ranked[:best])
    pool = list(ranked[best : max(best, (len(ranked) + 1) // 2)])
    return chosen + _farthest(space, pool, [*given, *chosen], count - len(chosen))


def _farthest(
    space: Space, pool: Sequence[Params], taken: Sequence[Params], count: int
) -> list[Params]:
    """Return ``count`` of the pool, each the one that is farthest from all before it."""
    places = [coordinates(space, config) for config in pool]
    apart = [
        min((distance(place, coordinates(space, other)) for other in taken), default=0.0)
        for place in places
    ]
    found: list[int] = []
    while len(found) < min(count, len(pool)):
        left = (index for index in range(len(pool)) if index not in found)
        newest = max(left, key=lambda index: (apart[index], -index))
        found.append(newest)
        apart = [
            min(old, distance(place, places[newest]))
            for old, place in zip(apart, places, strict=True)
        ]
    return [pool[index] for index in found]


def coordinates(space: Space, config: Params) -> Coordinates:
    """Return where a configuration lies, complete or not."""
    free = space.domains()
    values = flatten(space, config, partial=True)
    return {
        path: canonical(value) if isinstance(free[path], Listed) else free[path].to_unit(value)
        for path, value in values.items()
        if path in free
    }


def distance(one: Coordinates, other: Coordinates) -> float:
    """Return how far two configurations are apart, summed over the parameters of either."""
    return sum(_apart(one.get(path), other.get(path)) for path in {**one, **other})


def _apart(one: float | str | None, other: float | str | None) -> float:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    return 0.0 if one == other else 1.0
