"""What user code says, turned into floats and resource levels, or refused by name."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from tuneflow.errors import did_you_mean
from tuneflow.trial import Resource


def to_metrics(values: Any, metric: str, said: str) -> dict[str, float]:
    """Return reported values as floats.

    Args:
        values: a mapping of metric names to numbers, or one number.
        metric: the name that a lone number is given.
        said: how the values came, for the message, such as "train returned".

    Raises:
        TypeError: it is neither, or one of the values is not a number.
    """
    if isinstance(values, Mapping):
        return {str(name): to_float(value, f"metric '{name}'") for name, value in values.items()}
    if _is_number(values):
        return {metric: to_float(values, f"metric '{metric}'")}
    raise TypeError(
        f"{said} {_short(values)}; give a number or a mapping of metric names to numbers"
    )


def to_float(value: Any, name: str) -> float:
    """Return a number of any library (numpy, torch, decimal, …) as a float."""
    if isinstance(value, float | int) or _is_number(value):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise TypeError(f"{name} is {_short(value)}, not one number: {error}") from error
    raise TypeError(f"{name} is {_short(value)}; metrics are numbers")


def next_resource(given: Any, last: Resource) -> Resource:
    """Return the level of the next report: as given, or one more than the last.

    Raises:
        TypeError: the level is not a number.
        ValueError: it is not above the last one, or not finite.
    """
    if given is None:
        return last + 1
    resource = _to_resource(given)
    if resource > last and math.isfinite(resource):
        return resource
    raise ValueError(
        f"resource is {resource!r}, but must be finite and above {last!r}, the level reached "
        "before; a resumed trial goes on from the level of its checkpoint"
    )


def _to_resource(given: Any) -> Resource:
    """Return whole levels as int, so that a level has one name in storage."""
    if isinstance(given, bool):
        raise TypeError(f"resource is {given}; it must be a number")
    try:
        return operator.index(given)
    except TypeError:
        level = to_float(given, "resource")
        return int(level) if level.is_integer() else level


def _is_number(value: Any) -> bool:
    return hasattr(type(value), "__float__") or hasattr(type(value), "__index__")


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return f"{shown} ({type(value).__name__})"


def reported_instead(metric: str, names: Sequence[str]) -> str:
    """Say what was reported instead of a metric; nothing if there was nothing."""
    if not names:
        return ""
    near = did_you_mean(metric, names)
    reported = f"it reported {', '.join(map(repr, names))}"
    return f"{reported}; {near}" if near.startswith("did") else reported
