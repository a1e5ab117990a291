"""Rung levels and bracket tables, in exact arithmetic.

No logarithm and no floating power is used anywhere: ``floor(log(243) / log(3))`` is 4 in
floats, and a bracket is lost. Levels are fractions until the very end. When both resources are
whole numbers the levels are whole numbers too (rounded down); otherwise they are floats.
"""

from __future__ import annotations

import math
from fractions import Fraction

from tuneflow.schedulers.base import require, require_number
from tuneflow.trial import Resource

_SIMPLE = 10**6
"""No two fractions with denominators up to here are the same double (below 1,000 or so)."""


def exact(value: Resource) -> Fraction:
    """Return the number a person meant: 2.7 is 27/10 and 1/27 is 1/27, not the nearest double."""
    simple = Fraction(value).limit_denominator(_SIMPLE)
    return simple if float(simple) == value else Fraction(str(value))


def check_resources(min_resource: Resource, max_resource: Resource) -> None:
    """Raise SpecError unless 0 < min_resource <= max_resource."""
    require_number("min_resource", min_resource, 0)
    require_number("max_resource", max_resource, 0)
    require(
        min_resource <= max_resource,
        "min_resource",
        f"{min_resource!r} is above max_resource {max_resource!r}",
        "give a smaller min_resource",
    )


def check_factor(reduction_factor: float) -> None:
    """Raise SpecError unless the reduction factor is above 1."""
    require_number("reduction_factor", reduction_factor, 1, "3 and 4 are usual")


def rising_levels(min_resource: Resource, max_resource: Resource, eta: float) -> list[Resource]:
    """Return ``min_resource * eta**k`` below ``max_resource``, and then ``max_resource``."""
    factor, top = exact(eta), exact(max_resource)
    whole = isinstance(min_resource, int) and isinstance(max_resource, int)
    levels: list[Resource] = []
    level = exact(min_resource)
    while level < top:
        _add(levels, level, whole)
        level *= factor
    _add(levels, top, whole)
    return levels


def falling_levels(min_resource: Resource, max_resource: Resource, eta: float) -> list[Resource]:
    """Return ``max_resource / eta**k`` down to ``min_resource``, lowest first.

    The last one is exactly ``max_resource``, whether or not it is a power of ``eta``.
    """
    factor, bottom = exact(eta), exact(min_resource)
    whole = isinstance(min_resource, int) and isinstance(max_resource, int)
    fractions = []
    level = exact(max_resource)
    while level >= bottom:
        fractions.append(level)
        level /= factor
    levels: list[Resource] = []
    for level in reversed(fractions):
        _add(levels, level, whole)
    return levels


def next_multiple(level: Resource, interval: Resource, limit: Resource | None) -> Resource:
    """Return the next multiple of an interval above a level, at most the limit."""
    step = exact(interval)
    count = math.floor(exact(level) / step) + 1
    goal: Resource = interval * count if isinstance(interval, int) else float(step * count)
    if goal <= level:  # the level is a multiple, but for its rounding
        goal = float(step * (count + 1))
    return goal if limit is None else min(goal, limit)


def _add(levels: list[Resource], level: Fraction, whole: bool) -> None:
    """Append a level unless rounding made it equal to the one before."""
    value: Resource = math.floor(level) if whole else float(level)
    if not levels or value > levels[-1]:
        levels.append(value)


def ladder(n_trials: int, levels: list[Resource], eta: float) -> list[tuple[int, Resource]]:
    """Return the rungs of one successive halving: ``floor(n * eta**-i)`` trials at level i.

    At least one trial goes on from each rung, so that somebody always reaches the maximum.
    """
    factor = exact(eta)
    sizes = (max(1, math.floor(n_trials / factor**i)) for i in range(len(levels)))
    return list(zip(sizes, levels, strict=True))
