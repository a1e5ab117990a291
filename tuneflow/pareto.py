"""Points of several objectives: who dominates whom, and how to pick well-spread ones.

A point is one number per objective, each to be made small; a number may be infinite, but never
NaN. A point dominates another one when it is nowhere larger and somewhere smaller. So equal
points do not dominate each other.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import TypeAlias

Point: TypeAlias = Sequence[float]
"""One number per objective, each to be made small."""


def dominates(one: Point, other: Point) -> bool:
    """Return whether a point is nowhere larger than another one, and somewhere smaller."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Sequence[Point]) -> list[int]:
    """Return the positions of the points that no other point dominates, in rising order."""
    best: list[int] = []
    for position in _by_value(points):
        if not _is_dominated(position, best, points):
            best.append(position)
    return sorted(best)


def insert(found: list[list[int]], points: Sequence[Point], position: int) -> None:
    """Put one more point into the fronts of those before it (non-dominated sorting), in place.

    The first front is that of all points, the second that of the points without the first, and so
    on. The point's own is the first in which nobody dominates it, as in Zhang, Tian, Cheng, Jin: An
    Efficient Approach to Nondominated Sorting for Evolutionary Multiobjective Optimization, IEEE
    Transactions on Evolutionary Computation 19(2), 2015. Whoever it dominates in its front moves to
    the next one, and so on down. Within a front the order means nothing.
    """
    level, moving = _home(position, found, points), [position]
    while moving and level < len(found):
        pushed = {other for other in found[level] if _is_dominated(other, moving, points)}
        if len(pushed) == len(found[level]):
            break  # the whole front moves, and so do all that come after it
        stays = [other for other in found[level] if other not in pushed]
        found[level], moving = stays + moving, sorted(pushed)
        level += 1
    if moving:
        found.insert(level, moving)


def _home(position: int, found: list[list[int]], points: Sequence[Point]) -> int:
    """Return the first front in which nobody dominates a point, or how many fronts there are.

    Whoever is dominated from one front is dominated from all before it.
    """
    return bisect.bisect_left(found, True, key=lambda one: not _is_dominated(position, one, points))


def epsilon_net(points: Sequence[Point], count: int | None = None) -> list[int]:
    """Return the positions of all points, ordered so that the first k of them lie far apart.

    Args:
        points: finite ones, or infinite in every objective.
        count: how many positions are wanted. Default: all.

    It begins with the best point of the first objective, and goes on with the one that is
    furthest (in Euclidean distance) from its nearest neighbour among those before it, the
    earlier one of two that are as far. This is the greedy order of Clarkson: Nearest-Neighbor
    Searching and Metric Space Dimensions, in: Nearest-Neighbor Methods for Learning and Vision,
    MIT Press 2006.
    """
    wanted = len(points) if count is None else min(count, len(points))
    if wanted == 0:
        return []
    newest = min(range(len(points)), key=lambda position: points[position][0])
    order = [newest]
    nearest = {position: math.inf for position in range(len(points)) if position != newest}
    while len(order) < wanted:
        for position, known in nearest.items():
            nearest[position] = min(known, _distance(points[position], points[newest]))
        newest = max(nearest, key=nearest.__getitem__)
        del nearest[newest]
        order.append(newest)
    return order


def _by_value(points: Sequence[Point]) -> list[int]:
    """Return the positions in an order in which no point is dominated by a later one."""
    return sorted(range(len(points)), key=lambda position: tuple(points[position]))


def _is_dominated(position: int, others: list[int], points: Sequence[Point]) -> bool:
    # The newest of them is the nearest in the first objective, and so the likeliest to dominate.
    return any(dominates(points[other], points[position]) for other in reversed(others))


def _distance(one: Point, other: Point) -> float:
    # Infinity minus itself is NaN.
    return 0.0 if one == other else math.dist(one, other)
