"""Perturb one parameter, and stay inside its domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuneflow.space import Domain, Float, Int

_SHIFT = 0.1
"""How far a value moves in the unit interval where multiplying does not move it."""


def perturb(domain: Domain, value: Any, factor: float) -> Any:
    """Return a neighbour of ``value``.

    A number is multiplied by ``factor`` and moved to the nearest value of its domain. When that
    leaves it where it was (0, a small integer, or a bound), it moves by one step, or by a tenth
    of the domain, in the direction of the factor, and back when it stands at the end. A value
    of another kind moves to a neighbour in the order of its choices.
    """
    if isinstance(domain, Float | Int):
        moved = domain.snap(value * factor)
        if moved != value:
            return moved
    values = domain.grid()
    if values is None:
        return _shifted(domain, value, _SHIFT if factor >= 1 else -_SHIFT)
    return _neighbour(values, value, 1 if factor >= 1 else -1)


def _shifted(domain: Domain, value: Any, shift: float) -> Any:
    """Return the value that lies ``shift`` further in the unit interval, or back at its end."""
    unit = domain.to_unit(value)
    is_inside = 0.0 <= unit + shift < 1.0
    return domain.from_unit(unit + shift if is_inside else unit - shift)


def _neighbour(values: Sequence[Any], value: Any, step: int) -> Any:
    """Return the next of the values, or the one before at the end."""
    if len(values) == 1:
        return values[0]
    here = next(
        position
        for position, candidate in enumerate(values)
        if candidate == value and type(candidate) is type(value)
    )
    there = here + step
    return values[there if 0 <= there < len(values) else here - step]
