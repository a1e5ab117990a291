"""JSON values and numbers as a search space takes them: checked, compared and copied."""

from __future__ import annotations

import json
import math
import numbers
import reprlib
from collections.abc import Mapping
from typing import Any, TypeAlias

from tuneflow.errors import SpecError

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None
"""Any value that JSON can write. Its numbers are finite."""

_LARGEST_WHOLE = 2**1000
"""Integers up to here can be scaled and divided without leaving the range of a double."""

_encode = json.JSONEncoder(sort_keys=True, allow_nan=False).encode


def canonical(value: Json) -> str:
    """Return a text that two values share exactly when they are the same to a configuration.

    Types are kept apart: ``True``, ``1`` and ``1.0`` are three values, as they are to many a
    library (scikit-learn's ``max_features``, say). The order of a mapping's keys is no matter.
    """
    return _encode(value)


def copied(value: Json) -> Json:
    """Return a copy that shares no list or mapping with ``value``."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def plain(field: str, value: Any) -> Json:
    """Return a copy of ``value`` in JSON's own types; tuples become lists.

    Raises:
        SpecError: there is something in it that JSON cannot write; names where.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | str):
        return int(value) if isinstance(value, int) else str(value)
    if isinstance(value, float):
        return _finite(field, float(value))
    if isinstance(value, list | tuple):
        return [plain(f"{field}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(field, key): plain(f"{field}.{key}", item) for key, item in value.items()}
    raise SpecError(
        field,
        f"{shortened(value)} is a {type(value).__name__}, which JSON cannot write",
        "use None, a bool, a number, a string, a list or a mapping",
    )


def is_plain(value: Any) -> bool:
    """Whether ``value`` is a JSON value."""
    try:
        plain("", value)
    except SpecError:
        return False
    return True


def real(field: str, value: Any) -> float:
    """Return a finite number as a float; a bool is no number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise SpecError(field, f"{shortened(value)} is not a number")
    try:
        return _finite(field, float(value))
    except OverflowError:
        raise SpecError(field, f"{shortened(value)} is too large for a float") from None


def positive(field: str, value: Any) -> float:
    """Return a finite number above zero as a float."""
    number = real(field, value)
    if number <= 0:
        raise SpecError(field, f"{number!r} is not above 0")
    return number


def whole(field: str, value: Any) -> int:
    """Return an integer; neither a bool nor a float such as ``3.0`` is one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        fix = f"write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise SpecError(field, f"{shortened(value)} is not an integer", fix)
    number = int(value)
    if abs(number) > _LARGEST_WHOLE:
        raise SpecError(field, "the integer is beyond 2**1000")
    return number


def positive_whole(field: str, value: Any) -> int:
    """Return an integer of 1 or more."""
    number = whole(field, value)
    if number < 1:
        raise SpecError(field, f"{number} is not 1 or more")
    return number


def flag(field: str, value: Any) -> bool:
    """Return a bool, and take nothing else for one."""
    if not isinstance(value, bool):
        raise SpecError(field, f"{shortened(value)} is neither true nor false")
    return value


def is_number(value: Any) -> bool:
    """Whether ``value`` is an int or a float. A bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shortened(value: Any) -> str:
    """Return what ``value`` looks like, cut down to what fits in a sentence."""
    return reprlib.repr(value)


def _finite(field: str, value: float) -> float:
    if not math.isfinite(value):
        raise SpecError(field, f"{value!r} is not a finite number")
    return value


def _key(field: str, key: Any) -> str:
    if not isinstance(key, str):
        raise SpecError(field, f"the key {key!r} is not a string", "write it in quotes")
    return key
