"""Random search: every proposal is drawn anew from the priors.

Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13 (2012).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.searchers.base import Searcher, sampled
from tuneflow.space import Domain, Grid, Group, Json, Space
from tuneflow.trial import Params


@dataclass(frozen=True, kw_only=True)
class Random(Searcher):
    """Draws each parameter from its domain's prior.

    Grid axes mean what they mean in Ray Tune: the trials go through the product of all axes
    again and again, the last axis fastest, and only the other parameters are random. So a
    product of 6 with 30 trials gives 5 random draws for each of its points. An axis below a
    branch is no part of the product; it is drawn like a categorical.
    """

    type: ClassVar[str] = "random"
    multi_objective: ClassVar[bool] = True

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return a configuration; there is always another one."""
        drawn = sampled(rng)
        point = _grid_point(space, len(history.trials) - len(self.points_to_evaluate))

        def choose(path: str, domain: Domain) -> Json:
            return point[path] if path in point else drawn(path, domain)

        return space.build(choose)


def _grid_point(space: Space, number: int) -> dict[str, Json]:
    """Return the values of the grid axes for the trial of this number, by path."""
    axes = list(_grid_axes(space, ""))
    rest = number % math.prod(axis.size for _, axis in axes)
    point: dict[str, Json] = {}
    for path, axis in reversed(axes):
        rest, digit = divmod(rest, axis.size)
        point[path] = axis.at(digit)
    return point


def _grid_axes(group: Group, prefix: str) -> Iterator[tuple[str, Grid]]:
    """Yield the grid axes that every configuration has."""
    for name, node in group.nodes.items():
        if isinstance(node, Group):
            yield from _grid_axes(node, f"{prefix}{name}.")
        elif isinstance(node, Grid):
            yield prefix + name, node
