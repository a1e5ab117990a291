"""A space as the unit cube: one coordinate in [0, 1) for each parameter that can vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tuneflow.space import Domain, Json, Space
from tuneflow.space.lattice import LARGEST_UNIT
from tuneflow.trial import Params

Point: TypeAlias = tuple[float | None, ...]
"""A configuration's coordinates; None where its branches leave a parameter out."""


class Cube:
    """The parameters of a space, those of all branches too, as the axes of a cube.

    A parameter with one value only has no axis.

    Args:
        space: the space.

    Attributes:
        space: the space.
        domains: the domain of each axis, by path, in the order of definition.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.domains = {
            path: domain for path, domain in space.domains().items() if domain.size != 1
        }

    def __len__(self) -> int:
        return len(self.domains)

    def point(self, params: Params) -> Point:
        """Return where a configuration lies."""
        values = self.space.values(params)
        return tuple(
            domain.to_unit(values[path]) if path in values else None
            for path, domain in self.domains.items()
        )

    def params(self, point: Sequence[float]) -> Params:
        """Return the configuration at a point: coordinates that have no place in it are unused.

        What lies outside of [0, 1) is moved to its border.
        """
        units = dict(zip(self.domains, point, strict=True))

        def choose(path: str, domain: Domain) -> Json:
            return domain.from_unit(min(max(units.get(path, 0.0), 0.0), LARGEST_UNIT))

        return self.space.build(choose)
