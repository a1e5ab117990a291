"""What a study is after: metrics to be made small or large, and bounds that are to be kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from tuneflow.errors import SpecError
from tuneflow.trial import Mode

Objectives: TypeAlias = tuple[tuple[str, Mode], ...]
"""The metrics that are optimised, each with its mode; the primary one first."""

Names: TypeAlias = str | Sequence[str]
"""A metric, or several, as users name them."""

Modes: TypeAlias = Mode | Sequence[Mode]
"""A mode, or one for each metric."""

_FORM: Final = re.compile(r"\s*(\S.*?)\s*(<=|>=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a reported metric: ``latency_ms <= 100``.

    Attributes:
        metric: the metric's name.
        is_upper: whether it may not be larger than the bound, else not smaller.
        bound: the bound; the metric may be equal to it.
    """

    metric: str
    is_upper: bool
    bound: float

    @classmethod
    def parse(cls, text: object, field: str = "constraints") -> Constraint:
        """Read ``metric <= number`` or ``metric >= number``. Raises SpecError for all else."""
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        bound = _number(found[3]) if found else math.nan
        # A name with a sign in it is half of a bound on both sides, such as 1 <= metric <= 2.
        if found is None or not math.isfinite(bound) or re.search("<=|>=", found[1]):
            problem = f"{text!r} is not a bound on a metric"
            raise SpecError(field, problem, "write metric <= number, or metric >= number")
        return cls(found[1], found[2] == "<=", bound)

    def margin(self, metrics: Mapping[str, float]) -> float:
        """Return how far beyond the bound the metric is; 0 or less when the bound is kept.

        It is infinity for a metric that is missing or NaN.
        """
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return math.inf
        return value - self.bound if self.is_upper else self.bound - value

    def __str__(self) -> str:
        sign, bound = "<=" if self.is_upper else ">=", repr(self.bound).removesuffix(".0")
        return f"{self.metric} {sign} {bound}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def parse_constraints(texts: object) -> tuple[Constraint, ...]:
    """Read the constraints of a study. Raises SpecError that names the one that is wrong."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        problem = f"{texts!r} is not a list of bounds"
        raise SpecError("constraints", problem, 'write a list, such as ["latency_ms <= 100"]')
    return tuple(
        Constraint.parse(text, f"constraints[{position}]") for position, text in enumerate(texts)
    )


def make_objectives(metric: Any, mode: Any) -> Objectives:
    """Return the objectives that ``metric`` and ``mode`` say: a text each, or a list each.

    Raises:
        SpecError: a list is empty, they are not of one length, a name is doubled or is none, or
            a mode is neither "min" nor "max".
    """
    names, modes = _listed(metric), _listed(mode)
    for field, values in (("metric", names), ("mode", modes)):
        if not values:
            raise SpecError(field, "the list is empty")
    if len(names) != len(modes):
        problem = f"metric has {len(names)} and mode has {len(modes)} entries"
        raise SpecError("mode", problem, "write a mode for each metric, in the same order")
    for position, name in enumerate(names):
        _check_name(name, _field("metric", position, names), names[:position])
    for position, value in enumerate(modes):
        if value not in ("min", "max"):
            problem = f"{value!r} is neither 'min' nor 'max'"
            raise SpecError(_field("mode", position, modes), problem)
    return cast("Objectives", tuple(zip(names, modes, strict=True)))


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _field(name: str, position: int, values: Sequence[Any]) -> str:
    return f"{name}[{position}]" if len(values) > 1 else name


def _check_name(name: object, field: str, before: Sequence[object]) -> None:
    if not isinstance(name, str) or not name:
        raise SpecError(field, f"{name!r} is not a name", "write a text, such as metric: digits")
    if name in before:
        raise SpecError(field, f"the metric '{name}' is named twice")


def losses(objectives: Objectives, metrics: Mapping[str, float]) -> tuple[float, ...]:
    """Return the metrics as numbers to be made small.

    They are all infinity when one of them is missing, NaN or infinite: half a result cannot be
    compared.
    """
    found = []
    for name, mode in objectives:
        value = metrics.get(name, math.nan)
        if not math.isfinite(value):
            return (math.inf,) * len(objectives)
        found.append(-value if mode == "max" else value)
    return tuple(found)


def violation(constraints: Iterable[Constraint], metrics: Mapping[str, float]) -> float:
    """Return by how much bounds are broken, added up; 0 when all are kept."""
    return sum((max(constraint.margin(metrics), 0.0) for constraint in constraints), 0.0)
