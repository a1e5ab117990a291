"""Where a value of a past domain goes in today's, and what that is called.

One table says it all; *whole* and *real* are the integers and the floats, *listed* are the values
of categoricals and grids and the options of branches.

| past → today | a value that today's domain has | another value: in a point | in a result |
| --- | --- | --- | --- |
| real → real, whole → whole, in range | stands | the nearest step | the nearest step |
| the same, out of range | | the nearest end | is not used |
| listed → listed | stands | is left out | is not used |
| between kinds | stands; 3 becomes 3.0, and 3.0 becomes 3 | is left out | is drawn |
| a constant, or derived → any of these | stands | as within one kind | as within one kind |
| any of these → constant | today's constant | today's constant | is not used |
| constant → constant, any → derived | today's value | today's value | today's value |

Between kinds a number may have got another meaning (a share that became a percentage), so nothing
is rounded or clipped there. What is fixed in both spaces was never searched, and tells nothing of
what is: a path of data that changes every week must not make the past worthless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from tuneflow.space import Branch, Constant, Derived, Domain, Float, Int, Json, Normal
from tuneflow.space.domains import Listed
from tuneflow.space.values import is_number

Kind: TypeAlias = Literal["same", "new", "dropped", "widened", "narrowed", "changed"]
"""What became of a parameter."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a past value goes.

    Attributes:
        value: what stands for it in today's domain; nothing where `is_known` is false.
        is_known: whether there is such a value.
        is_inside: whether an observation that was made with it belongs to today's space.
    """

    value: Json = None
    is_known: bool = True
    is_inside: bool = True


_LEFT_OUT: Final = Place(is_known=False)
_OUTSIDE: Final = Place(is_known=False, is_inside=False)


def place(old: Domain, new: Domain, value: Json) -> Place:
    """Return where a value of the past domain ``old`` goes in ``new``; see the module."""
    if is_same(old, new):
        return Place(value)
    if isinstance(new, Derived):
        return _LEFT_OUT
    if isinstance(new, Constant):
        is_inside = is_fixed(old) or _is_equal(new.value, value)
        return Place(is_known=False, is_inside=is_inside)
    standing = _standing(new, value)
    if standing is not None:
        return standing
    return _misfit(new, value) if _is_of_kind(old, new, value) else _LEFT_OUT


def is_same(old: Domain, new: Domain) -> bool:
    """Whether nothing changed; what the options of a branch hold has paths of its own."""
    if isinstance(old, Branch) and isinstance(new, Branch):
        return old.listed == new.listed and old.key == new.key
    return old == new


def is_fixed(domain: Domain) -> bool:
    """Whether the values of a domain are not searched."""
    return isinstance(domain, Constant | Derived)


def change(old: Domain, new: Domain) -> tuple[Kind, str]:
    """Return what became of a parameter that both spaces have, and what is done about it."""
    if is_same(old, new):
        return "same", "values stand"
    if is_fixed(new):
        return _fixing(old, new)
    if isinstance(old, Derived) or not _is_of_kind(old, new, getattr(old, "value", None)):
        return "changed", "past values that today's domain has stand, others count as unknown"
    if not _covers(new, old):
        return "narrowed", _NARROWED[_kind(new)]
    return ("changed" if _covers(old, new) else "widened"), "past values stand"


_NARROWED: Final = {
    "listed": "points leave a value out that is gone, and past results with it are not used",
    "real": "points move to the nearest value, and past results out of range are not used",
    "whole": "points move to the nearest value, and past results out of range are not used",
}


def _fixing(old: Domain, new: Domain) -> tuple[Kind, str]:
    if isinstance(new, Derived):
        return "changed", "it is computed today, and past values are left out"
    if is_fixed(old):
        return "changed", "today's constant stands"
    return "narrowed", "points take the constant, and past results with another value are not used"


def _kind(domain: Domain) -> str:
    if isinstance(domain, Listed):
        return "listed"
    return "whole" if isinstance(domain, Int) else "real"


def _is_of_kind(old: Domain, new: Domain, value: Any) -> bool:
    """Whether the values of two domains can be compared; a fixed value takes any kind it can."""
    if is_fixed(old):
        return isinstance(new, Listed) or is_number(value)
    return _kind(old) == _kind(new)


def _standing(new: Domain, value: Any) -> Place | None:
    """Return the value as one of the domain, or None when it has no such value."""
    if isinstance(new, Int) and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not new.contains(value):
        return None
    if isinstance(new, Float | Normal) and isinstance(value, int):
        value = new.snap(value)
    return Place(value)


def _misfit(new: Domain, value: Any) -> Place:
    """Return where a value of the same kind goes that the domain does not have."""
    if isinstance(new, Float | Int):
        return Place(new.snap(value), is_inside=new.low <= value <= new.high)
    return Place(new.snap(value)) if isinstance(new, Normal) else _OUTSIDE


def _is_equal(constant: Any, value: Any) -> bool:
    if is_number(constant) and is_number(value):
        return bool(constant == value)
    return Constant(constant).contains(value)


def _covers(new: Domain, old: Domain) -> bool:
    """Whether all values of ``old`` are values of ``new``, which is of the same kind."""
    if isinstance(old, Listed):
        return all(_standing(new, value) is not None for value in old.listed)
    if old.size is not None:
        return all(_standing(new, old.at(index)) is not None for index in _telling(old.size))
    if _spacing(new) is not None and _spacing(old) is None:
        return False
    return _covers_unending(new, old)


def _telling(size: int) -> tuple[int, ...]:
    """Return the positions that tell of all evenly spaced values whether a domain has them."""
    return (0, min(1, size - 1), size - 1)


def _spacing(domain: Domain) -> float | None:
    return domain.q if isinstance(domain, Normal) else getattr(domain, "spacing", None)


def _covers_unending(new: Domain, old: Domain) -> bool:
    """Whether a domain has all values of one whose values cannot be counted."""
    if isinstance(old, Float):
        return new.contains(old.low) and new.contains(old.high)
    return isinstance(new, Normal) and (new.q is None or new.contains(_spacing(old)))
