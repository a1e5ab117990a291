"""Differential evolution in the unit cube: the strategy rand/1/bin.

Storn, Price, "Differential Evolution: A Simple and Efficient Heuristic for Global Optimization over
Continuous Spaces", Journal of Global Optimization 11 (1997). Values out of bounds are drawn anew,
as Awad, Mallik, Hutter do ("DEHB", IJCAI 2021).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, TypeAlias

from tuneflow.rng import choose_index

Individual: TypeAlias = tuple[float, ...]
"""A point of the unit cube of all parameters, those that its branches leave out too."""

PARENTS: Final = 3
"""How many individuals a mutation needs."""


def mutant(
    target: Individual, parents: Sequence[Individual], factor: float, rng: random.Random
) -> Individual:
    """Return ``a + factor * (b - c)`` of three parents, which may lie out of bounds.

    They are three different ones, and none is the target, unless it is the only one. Where there
    are too few, random individuals stand in.
    """
    rest = list(parents)
    if target in rest and len(rest) > 1:
        rest.remove(target)
    while len(rest) < PARENTS:
        rest.append(tuple(rng.random() for _ in target))
    one, two, three = (rest.pop(choose_index(rng, len(rest))) for _ in range(PARENTS))
    axes = zip(one, two, three, strict=True)
    return tuple(first + factor * (second - third) for first, second, third in axes)


def crossed(
    target: Individual, donor: Individual, probability: float, rng: random.Random
) -> Individual:
    """Return the target with each value from the donor with a probability, and at least one."""
    chosen = [rng.random() < probability for _ in target]
    if chosen and not any(chosen):
        chosen[choose_index(rng, len(chosen))] = True
    axes = zip(target, donor, chosen, strict=True)
    return tuple(new if is_chosen else old for old, new, is_chosen in axes)


def inside(point: Individual, rng: random.Random) -> Individual:
    """Return a point with each coordinate outside of [0, 1] drawn anew."""
    return tuple(unit if 0 <= unit <= 1 else rng.random() for unit in point)
