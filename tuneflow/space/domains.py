"""What a domain is, and the domains that list their values."""

from __future__ import annotations

import dataclasses
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

from tuneflow.errors import SpecError
from tuneflow.jsonio import dumps
from tuneflow.space.values import Json, canonical, copied, is_plain, plain, shortened

LONGEST_GRID: Final = 100_000
"""How many values `Domain.grid` lists at most."""

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, eq=False)
class Domain(ABC):
    """The values that one parameter may take, and how likely each is before anything is known.

    A domain is a frozen value: two are equal when their JSON forms are. It draws no random
    numbers of its own; `from_unit` turns a uniform number into a value.

    The laws: ``contains(from_unit(u))`` for every ``u`` in [0, 1); `from_unit` never falls where
    values have an order; ``from_unit(to_unit(value)) == value`` where the values can be counted,
    as long as a double can tell their shares of the unit interval apart (for evenly spaced
    values: up to 2**52 of them), and nearly so elsewhere.
    """

    type: ClassVar[str]
    """The name that JSON uses."""

    @abstractmethod
    def from_unit(self, u: float) -> Json:
        """Return the value for ``u`` in [0, 1); a uniform ``u`` gives the domain's prior."""

    @abstractmethod
    def to_unit(self, value: Any) -> float:
        """Return a ``u`` in [0, 1) that `from_unit` turns into ``value``.

        Where the values can be counted it is the middle of all such ``u``. Numeric domains take
        the nearest of their values for any other number; the rest raise SpecError.
        """

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether ``value`` is one of this domain. A bool is no number, and 3.0 no integer."""

    @abstractmethod
    def describe(self) -> str:
        """Return words for what is allowed, such as "an integer from 1 to 8"."""

    @property
    def size(self) -> int | None:
        """How many values there are; None when they cannot be counted."""
        return None

    def at(self, index: int) -> Json:
        """Return value ``index`` of `size`, in the order of `grid`."""
        raise SpecError("", f"the values of {self!r} cannot be counted")

    def grid(self) -> tuple[Json, ...] | None:
        """Return all values in order; None when they cannot be counted, or exceed 100,000."""
        if self.size is None or self.size > LONGEST_GRID:
            return None
        return tuple(self.at(index) for index in range(self.size))

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form: the type, and each field that differs from its default."""
        data: dict[str, Json] = {"type": self.type}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                data[field.name] = plain(field.name, value)
        return data

    def _set(self, name: str, value: Any) -> None:
        """Set a field of this frozen value while it is made."""
        object.__setattr__(self, name, value)

    @cached_property
    def _text(self) -> str:
        return dumps(self.to_json())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Domain) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, eq=False)
class Listed(Domain):
    """A domain that lists its values, each as likely as the others."""

    @property
    @abstractmethod
    def listed(self) -> tuple[Json, ...]:
        """The values."""

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {canonical(value): index for index, value in enumerate(self.listed)}

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.listed)

    def at(self, index: int) -> Json:
        """Return value ``index`` in the order listed."""
        return copied(self.listed[index])

    def from_unit(self, u: float) -> Json:
        """Return the value whose equal share of [0, 1) holds ``u``."""
        return self.at(min(int(u * self.size), self.size - 1))

    def to_unit(self, value: Any) -> float:
        """Return the middle of the value's share of [0, 1)."""
        if not self.contains(value):
            raise SpecError("", f"{shortened(value)} is not {self.describe()}")
        return (self._positions[canonical(value)] + 0.5) / self.size

    def contains(self, value: Any) -> bool:
        """Whether ``value`` is listed; ``True``, ``1`` and ``1.0`` are three values."""
        return is_plain(value) and canonical(value) in self._positions

    def describe(self) -> str:
        """Return "one of" and the values, the first ten of them."""
        names = ", ".join(shortened(value) for value in self.listed[:10])
        more = f" and {self.size - 10} more" if self.size > 10 else ""
        return f"one of {names}{more}"


@dataclass(frozen=True, eq=False)
class Categorical(Listed):
    """One of several values without an order.

    Args:
        choices: JSON values, at least one, no two the same. ``True``, ``1`` and ``1.0`` differ.
    """

    type: ClassVar[str] = "categorical"

    choices: tuple[Any, ...]

    def __post_init__(self) -> None:
        self._set("choices", _distinct("choices", self.choices))

    @property
    def listed(self) -> tuple[Json, ...]:
        """The choices."""
        return self.choices


@dataclass(frozen=True, eq=False)
class Grid(Listed):
    """An axis of a grid.

    The searcher ``Grid`` tries every combination once, ``Random`` goes through the product of all
    axes again and again. The other searchers treat it as they treat `Categorical`.

    Args:
        values: JSON values, at least one, no two the same. ``True``, ``1`` and ``1.0`` differ.
    """

    type: ClassVar[str] = "grid"

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        self._set("values", _distinct("values", self.values))

    @property
    def listed(self) -> tuple[Json, ...]:
        """The values of the axis."""
        return self.values


@dataclass(frozen=True, eq=False)
class Constant(Listed):
    """A value that is the same in every configuration.

    Args:
        value: any JSON value, a mapping too. (A mapping in a space, unwrapped, is a nested
            space.)
    """

    type: ClassVar[str] = "constant"

    value: Any

    def __post_init__(self) -> None:
        self._set("value", plain("value", self.value))

    @property
    def listed(self) -> tuple[Json, ...]:
        """The one value."""
        return (self.value,)

    def describe(self) -> str:
        """Return the value that is allowed."""
        return f"the constant {shortened(self.value)}"

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form; a value of None is written too."""
        return {"type": self.type, "value": copied(self.value)}


@dataclass(frozen=True, eq=False)
class Derived(Domain):
    """A value computed from the rest of the configuration.

    The function gets a copy of the whole configuration, in which the derived values that are
    defined before this one stand already, and returns a JSON value. It must depend on nothing
    else, or a resumed study is not the study that was interrupted.

    Args:
        function: import path ``package.module:function``. It is imported at first use.
    """

    type: ClassVar[str] = "derived"

    function: str

    def __post_init__(self) -> None:
        _check_import_path(self.function)

    def compute(self, config: Mapping[str, Any]) -> Json:
        """Call the function on a copy of ``config`` and return its result.

        Raises:
            SpecError: the function cannot be imported, fails, or returns what is not JSON.
        """
        function = self._load()
        try:
            value = function(copied(dict(config)))
        except Exception as error:
            problem = f"{self.function} raised {type(error).__name__}: {error}"
            raise SpecError("", problem) from error
        try:
            return plain("", value)
        except SpecError as error:
            raise SpecError("", f"{self.function} returned a bad value: {error}") from None

    def _load(self) -> Any:
        module, _, attributes = self.function.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for attribute in attributes.split("."):
                found = getattr(found, attribute)
        except Exception as error:
            problem = f"{self.function} cannot be imported: {type(error).__name__}: {error}"
            raise SpecError("function", problem, "write package.module:function") from error
        if not callable(found):
            raise SpecError("function", f"{self.function} is not a function")
        return found

    def from_unit(self, u: float) -> Json:
        """Raise SpecError: a derived value is computed, never drawn."""
        raise SpecError("", f"a value derived by {self.function} cannot be drawn")

    def to_unit(self, value: Any) -> float:
        """Raise SpecError: a derived value is computed, never drawn."""
        raise SpecError("", f"a value derived by {self.function} has no place in [0, 1)")

    def contains(self, value: Any) -> bool:
        """Whether ``value`` is JSON: what the function would return is not asked."""
        return is_plain(value)

    def describe(self) -> str:
        """Return where the value comes from."""
        return f"a JSON value, as derived by {self.function}"


def _distinct(field: str, values: Any) -> tuple[Json, ...]:
    """Return a tuple of the values; they must be JSON, and no two the same."""
    if not isinstance(values, list | tuple | range):
        raise SpecError(field, f"{shortened(values)} is not a list", "write the values in a list")
    if not values:
        raise SpecError(field, "the list is empty", "give at least one value")
    seen: dict[str, int] = {}
    listed = []
    for index, value in enumerate(values):
        _refuse_domains(f"{field}[{index}]", value)
        item = plain(f"{field}[{index}]", value)
        first = seen.setdefault(canonical(item), index)
        if first != index:
            raise SpecError(f"{field}[{index}]", f"{shortened(item)} is already {field}[{first}]")
        listed.append(item)
    return tuple(listed)


def _refuse_domains(field: str, value: Any) -> None:
    if isinstance(value, Domain):
        raise SpecError(
            field,
            f"a {type(value).__name__} is a domain, and a listed value is used as it stands",
            "give each option a name and a sub-space of its own with branch({...})",
        )
    items = value.values() if isinstance(value, Mapping) else value
    if isinstance(items, list | tuple) or isinstance(value, Mapping):
        for item in items:
            _refuse_domains(field, item)


def _check_import_path(function: Any) -> None:
    if not isinstance(function, str) or not _IMPORT_PATH.fullmatch(function):
        problem = f"{shortened(function)} is not an import path"
        raise SpecError("function", problem, _import_path_fix(function))


def _import_path_fix(function: Any) -> str:
    """Return what to write; for a function that can be imported, its import path."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<")
    if module in (None, "__main__") or "<" in name:
        return "move it to a module that the workers can import and write 'package.module:function'"
    return f"write '{module}:{name}'"
