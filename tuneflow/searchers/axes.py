"""The parameters of a space as search libraries know them, and the way back.

| domain | for a library |
| --- | --- |
| float, also on a log scale | the same |
| integer, also on a log scale | the same |
| float or integer with a step | an integer: the position among the values |
| listed values, the options of a branch | a choice: the position in the list |
| anything else | a float in [0, 1), which the domain's `from_unit` turns into a value |
| a single value | nothing: there is nothing to search |

Positions keep a library's arithmetic away from the values, which so always lie in the space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tuneflow.libraries.base import Parameter, Values
from tuneflow.space import Domain, Float, Int, Json, Normal, Space
from tuneflow.space.domains import Listed
from tuneflow.space.lattice import LARGEST_UNIT
from tuneflow.space.tree import Branch, Group
from tuneflow.space.walk import flatten
from tuneflow.trial import Params

_LARGEST_EXACT: Final = 2**50
"""Libraries and `to_unit` compute with doubles, which tell whole numbers apart up to here."""


@dataclass(frozen=True)
class Axis:
    """One parameter of a space.

    Attributes:
        domain: the domain in the space.
        parameter: what a library takes it for.
        is_position: whether the library's number is a position among the domain's values.
        is_unit: whether the library's number is one of the unit interval.
    """

    domain: Domain
    parameter: Parameter
    is_position: bool = False
    is_unit: bool = False

    def encode(self, value: Any) -> float | int:
        """Return a library's number for a value of the space."""
        if self.is_position:
            return int(self.domain.to_unit(value) * (self.domain.size or 1))
        if self.is_unit:
            return self.domain.to_unit(value)
        return float(value) if self.parameter.kind == "float" else int(value)

    def decode(self, number: float | int) -> Json:
        """Return the value of the space for a library's number, brought into its bounds.

        Raises ValueError for NaN, and TypeError for what is no number.
        """
        own = self.parameter
        low, high = (0, own.size - 1) if own.kind == "choice" else (own.low, own.high)
        inside = min(max(number, low), high)
        if self.is_position:
            return self.domain.at(math.floor(inside + 0.5))
        if self.is_unit:
            return self.domain.from_unit(_finite(inside))
        return _finite(inside) if own.kind == "float" else math.floor(inside + 0.5)


def _finite(number: float) -> float:
    if math.isnan(number):
        raise ValueError("NaN is no proposal")
    return float(number)


def _axis(path: str, domain: Domain, parent: str, option: int) -> Axis:
    place: dict[str, Any] = {"path": path, "parent": parent, "option": option}
    if isinstance(domain, Listed):
        return Axis(domain, Parameter(kind="choice", size=domain.size, **place), is_position=True)
    if isinstance(domain, Float) and domain.spacing is None:
        own = Parameter(kind="float", low=domain.low, high=domain.high, log=domain.log, **place)
        return Axis(domain, own)
    if isinstance(domain, Int) and _is_plain(domain):
        own = Parameter(kind="int", low=domain.low, high=domain.high, log=domain.log, **place)
        return Axis(domain, own)
    if isinstance(domain, Float | Int) and domain.q is None and not domain.log:
        size = domain.size or 1
        if size <= _LARGEST_EXACT:
            own = Parameter(kind="int", low=0, high=size - 1, **place)
            return Axis(domain, own, is_position=True)
    snaps = isinstance(domain, Float | Int | Normal) and domain.q is not None
    snaps |= isinstance(domain, Float | Int) and domain.size is not None
    own = Parameter(kind="float", high=LARGEST_UNIT, snaps=snaps, **place)
    return Axis(domain, own, is_unit=True)


def _is_plain(domain: Int) -> bool:
    is_small = max(abs(domain.low), abs(domain.high)) <= _LARGEST_EXACT
    return is_small and domain.step == 1 and domain.q is None


def _is_single(domain: Domain) -> bool:
    """Whether a domain has one value only."""
    if isinstance(domain, Float | Int):
        return domain.from_unit(0.0) == domain.from_unit(LARGEST_UNIT)
    return domain.size == 1


class Axes:
    """All parameters of a space that can be searched.

    Args:
        space: the space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._free = space.domains()
        self._axes: dict[str, Axis] = {}
        self._add(space, "", "", -1)

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters, parents first."""
        return [axis.parameter for axis in self._axes.values()]

    def encode(self, params: Params) -> Values:
        """Return a library's values for a configuration."""
        return self._encoded(self._space.values(params))

    def encode_some(self, params: Mapping[str, Any]) -> Values:
        """Return a library's values for a configuration that may leave parameters out.

        Raises:
            SpecError: a given value lies outside its domain, or has no place in the space.
        """
        return self._encoded(flatten(self._space, params, partial=True))

    def _encoded(self, known: Mapping[str, Json]) -> Values:
        found = {path: value for path, value in known.items() if path in self._axes}
        return {path: self._axes[path].encode(value) for path, value in found.items()}

    def decode(self, values: Values) -> Params:
        """Return the configuration for a library's values.

        A parameter that the library has left out gets the middle of its domain.
        """
        return self._space.build(lambda path, domain: self._decoded(path, domain, values))

    def _decoded(self, path: str, domain: Domain, values: Values) -> Json:
        axis = self._axes.get(path)
        if axis is None or path not in values:
            return domain.from_unit(0.5)
        return axis.decode(values[path])

    def _add(self, group: Group, prefix: str, parent: str, option: int) -> None:
        for name, node in group.nodes.items():
            path = f"{prefix}{name}"
            if isinstance(node, Group):
                self._add(node, f"{path}.", parent, option)
                continue
            if path in self._free and not _is_single(node):
                self._axes[path] = _axis(path, node, parent, option)
            if isinstance(node, Branch):
                self._add_options(node, path, parent, option)

    def _add_options(self, branch: Branch, path: str, parent: str, option: int) -> None:
        """Add what the options hold; a branch with one option makes nothing conditional."""
        for position, (name, group) in enumerate(branch.groups.items()):
            is_choice = len(branch.groups) > 1
            above = (path, position) if is_choice else (parent, option)
            self._add(group, f"{path}.{name}.", *above)
