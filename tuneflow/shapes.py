"""Whether what was read has the types that a dataclass promises.

What is read from a storage may have been altered by anybody, and a wrong type would surface far
from where it was read: a text as a level, or -1 as the number of a trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Check: TypeAlias = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 2**63
    return type(value) is float and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


_BY_ANNOTATION: Final[Mapping[str, Check]] = {
    "int": _is_count,
    "int | None": _or_none(_is_count),
    "bool": lambda value: type(value) is bool,
    "float": _is_number,
    "str": _is_text,
    "str | None": _or_none(_is_text),
    "Resource": _is_number,
    "Resource | None": _or_none(_is_number),
    "Params": _is_mapping,
    "Params | None": _or_none(_is_mapping),
    "Mapping[str, Any] | None": _or_none(_is_mapping),
    "Status": {"paused", "completed", "stopped", "failed", "lost"}.__contains__,
}


def checks_of(cls: type[Any]) -> dict[str, Check]:
    """Return a check for each field of a dataclass that has one of the types known here."""
    fields = cls.__dataclass_fields__.items()
    return {
        name: _BY_ANNOTATION[field.type] for name, field in fields if field.type in _BY_ANNOTATION
    }


def require(checks: Mapping[str, Check], data: Mapping[str, Any]) -> None:
    """Raise ValueError for the first value that is of another type than its field."""
    for name, value in data.items():
        check = checks.get(name)
        if check is not None and not check(value):
            raise ValueError(f"{name} is {value!r}")
