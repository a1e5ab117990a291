"""Domains of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from statistics import NormalDist
from typing import Any, ClassVar, Final

from tuneflow.errors import SpecError
from tuneflow.space.domains import Domain
from tuneflow.space.lattice import LARGEST_UNIT, Lattice, log_offset, log_unit
from tuneflow.space.values import Json, flag, is_number, positive, positive_whole, real, whole

_NEAR: Final = Fraction(1, 10**9)
"""How far a float may lie from a step, as a share of the step, and still be on it."""

_SMALLEST_UNIT: Final = 2.0**-54
"""Stands for u = 0 where a value would be infinite."""


@dataclass(frozen=True, eq=False)
class Float(Domain):
    """A float from ``low`` to ``high``, both included.

    Args:
        low: the smallest value.
        high: the largest value; ``low`` itself is allowed.
        log: whether all orders of magnitude are equally likely; needs ``low`` above 0.
        step: only ``low``, ``low + step``, ``low + 2 * step`` … are values, all equally likely.
            The last is the largest that does not pass ``high``. With ``log``, values are drawn
            on the log scale and rounded to the nearest step.
        q: only multiples of ``q`` are values: what is drawn is rounded to the nearest, so that
            the outermost have half the chance of the others. This is Ray Tune's ``quniform``
            and ``qloguniform``. Not together with ``step``.

    Steps are meant as decimals: ``Float(0, 1, step=0.1)`` has the value 0.3. A value is on a
    step when it is no further off than a billionth of the step, or than rounding can explain.
    """

    type: ClassVar[str] = "float"

    low: float
    high: float
    log: bool = False
    step: float | None = None
    q: float | None = None

    def __post_init__(self) -> None:
        self._set("low", real("low", self.low))
        self._set("high", real("high", self.high))
        self._set("log", flag("log", self.log))
        self._set("step", None if self.step is None else positive("step", self.step))
        self._set("q", None if self.q is None else positive("q", self.q))
        _check_range(self.low, self.high)
        _refuse_both(self.step is not None, self.q is not None)
        if self.log:
            _check_log(self.low, self.high)
        elif math.isinf(self.high - self.low):
            raise SpecError("high", "high - low is too large for a float")
        self._check_spacing()

    def _check_spacing(self) -> None:
        """Refuse steps that fall below what floats of this size can tell apart."""
        spacing, name = self.spacing, "step" if self.q is None else "q"
        if spacing is None:
            return
        if spacing < math.ulp(max(abs(self.low), abs(self.high))):
            raise SpecError(name, f"{spacing!r} is lost in the rounding of values this large")
        if self._lattice is not None and self._lattice.count < 1:
            problem = f"no multiple of {spacing!r} lies from {self.low!r} to {self.high!r}"
            raise SpecError(name, problem)

    @property
    def spacing(self) -> float | None:
        """How far neighbours are apart: ``step`` or ``q``; None when all floats are values."""
        return self.q if self.step is None else self.step

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that can be reached."""
        if self._lattice is None:
            return self.low, self.high
        return self.at(0), self.at(self._lattice.count - 1)

    @cached_property
    def _lattice(self) -> Lattice | None:
        if self.spacing is None:
            return None
        spacing, low, high = _decimal(self.spacing), _decimal(self.low), _decimal(self.high)
        if self.q is not None:
            low = _first_multiple(low / spacing) * spacing
        count = math.floor((high - low) / spacing + _NEAR) + 1
        scale = math.lcm(low.denominator, spacing.denominator)
        gap = int(spacing * scale)
        overhang = gap if self.q is None and not self.log else 0
        return Lattice(int(low * scale), gap, count, overhang, self.log, scale)

    @property
    def size(self) -> int | None:
        """How many values there are; None without a step, unless ``low`` is ``high``."""
        if self._lattice is None:
            return 1 if self.low == self.high else None
        return self._lattice.count

    def at(self, index: int) -> float:
        """Return value ``index``, counted from the smallest."""
        if self._lattice is None:
            return self.low
        return self._clamped(float(self._lattice.value(index)))

    def from_unit(self, u: float) -> float:
        """Return the value for ``u`` in [0, 1)."""
        if self._lattice is not None:
            return self.at(self._lattice.index(u))
        if self.log:
            offset = log_offset(u, self.low, self.high - self.low)
        else:
            offset = u * (self.high - self.low)
        return self._clamped(self.low + offset)

    def to_unit(self, value: Any) -> float:
        """Return the ``u`` for the value that is nearest to a number."""
        number = self._clamped(float(value))
        if self._lattice is not None:
            return self._lattice.middle(self._lattice.nearest(number))
        offset, width = number - self.low, self.high - self.low
        if width == 0:
            return 0.5
        unit = log_unit(offset, self.low, width) if self.log else offset / width
        return min(unit, LARGEST_UNIT)

    def snap(self, number: float) -> float:
        """Return the value that is nearest to a number."""
        if self._lattice is None:
            return self._clamped(float(number))
        return self.at(self._lattice.nearest(self._clamped(float(number))))

    def contains(self, value: Any) -> bool:
        """Whether ``value`` is a number within the bounds and on a step; an int counts too."""
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        return self._lattice is None or _is_near(float(value), self.snap(value), self.spacing)

    def describe(self) -> str:
        """Return words for what is allowed."""
        return f"a float from {self.low!r} to {self.high!r}{_pattern(self.step, self.q)}"

    def _clamped(self, number: float) -> float:
        return min(max(number, self.low), self.high)


@dataclass(frozen=True, eq=False)
class Int(Domain):
    """An integer from ``low`` to ``high``, both included.

    Args:
        low: the smallest value.
        high: the largest value; ``low`` itself is allowed.
        log: whether all orders of magnitude are equally likely: a number is drawn on the log
            scale from ``low - 0.5`` to ``high + 0.5`` and rounded. Needs ``low`` of 1 or more.
        step: only ``low``, ``low + step``, ``low + 2 * step`` … are values. The last is the
            largest that does not pass ``high``. Default 1.
        q: only multiples of ``q`` are values: an integer is drawn and rounded to the nearest,
            so that the outermost have a smaller chance. This is what Ray Tune documents as
            ``qrandint`` and ``qlograndint``. Not together with ``step``.
    """

    type: ClassVar[str] = "int"

    low: int
    high: int
    log: bool = False
    step: int = 1
    q: int | None = None

    def __post_init__(self) -> None:
        self._set("low", whole("low", self.low))
        self._set("high", whole("high", self.high))
        self._set("log", flag("log", self.log))
        self._set("step", positive_whole("step", self.step))
        self._set("q", None if self.q is None else positive_whole("q", self.q))
        _check_range(self.low, self.high)
        _refuse_both(self.step != 1, self.q is not None)
        if self.log and self.low < 1:
            raise SpecError("low", f"a log scale cannot begin at {self.low}", "give 1 or more")
        if self._lattice.count < 1:
            raise SpecError("q", f"no multiple of {self.q} lies from {self.low} to {self.high}")

    @property
    def spacing(self) -> int:
        """How far neighbours are apart: ``q`` or ``step``."""
        return self.step if self.q is None else self.q

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest value that can be reached."""
        return self.at(0), self.at(self.size - 1)

    @cached_property
    def _lattice(self) -> Lattice:
        spacing = self.spacing
        first = self.low if self.q is None else -(-self.low // spacing) * spacing
        count = (self.high - first) // spacing + 1
        equal = self.q is None and not self.log
        return Lattice(first, spacing, count, spacing if equal else 1, self.log)

    @property
    def size(self) -> int:
        """How many values there are."""
        return self._lattice.count

    def at(self, index: int) -> int:
        """Return value ``index``, counted from the smallest."""
        return self._lattice.first + index * self._lattice.spacing

    def from_unit(self, u: float) -> int:
        """Return the value for ``u`` in [0, 1)."""
        return self.at(self._lattice.index(u))

    def to_unit(self, value: Any) -> float:
        """Return the middle of the share of the value that is nearest to a number."""
        return self._lattice.middle(self._lattice.nearest(value))

    def snap(self, number: float) -> int:
        """Return the value that is nearest to a number."""
        return self.at(self._lattice.nearest(number))

    def contains(self, value: Any) -> bool:
        """Whether ``value`` is an int within the bounds and on a step; 3.0 is not."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.low <= value <= self.high and (value - self.at(0)) % self.spacing == 0

    def describe(self) -> str:
        """Return words for what is allowed."""
        pattern = _pattern(None if self.step == 1 else self.step, self.q)
        return f"an integer from {self.low} to {self.high}{pattern}"


@dataclass(frozen=True, eq=False)
class Normal(Domain):
    """A float with a normal prior and no bounds.

    Values further than about 8.2 standard deviations from the mean are never drawn, and their
    `to_unit` is that of the nearest that can be.

    Args:
        mean: the mean. Default 0.
        sd: the standard deviation; above 0. Default 1.
        q: only multiples of ``q`` are values: what is drawn is rounded to the nearest.
    """

    type: ClassVar[str] = "normal"

    mean: float = 0.0
    sd: float = 1.0
    q: float | None = None

    def __post_init__(self) -> None:
        self._set("mean", real("mean", self.mean))
        self._set("sd", positive("sd", self.sd))
        self._set("q", None if self.q is None else positive("q", self.q))
        reach = abs(self.mean) + 9 * self.sd
        if math.isinf(reach):
            raise SpecError("sd", "mean + 9 * sd is too large for a float")
        if self.q is not None and self.q < math.ulp(reach):
            raise SpecError("q", f"{self.q!r} is lost in the rounding of values this large")

    def from_unit(self, u: float) -> float:
        """Return the value below which lies the share ``u`` of the prior."""
        unit = min(max(u, _SMALLEST_UNIT), LARGEST_UNIT)
        return self.snap(NormalDist(self.mean, self.sd).inv_cdf(unit))

    def to_unit(self, value: Any) -> float:
        """Return the share of the prior below the value that is nearest to a number."""
        unit = NormalDist(self.mean, self.sd).cdf(self.snap(value))
        return min(max(unit, _SMALLEST_UNIT), LARGEST_UNIT)

    def snap(self, number: float) -> float:
        """Return the value that is nearest to a finite number."""
        if self.q is None:
            return float(number)
        q = _decimal(self.q)
        return float(math.floor(Fraction(number) / q + Fraction(1, 2)) * q)

    def contains(self, value: Any) -> bool:
        """Whether ``value`` is a finite number and a multiple of ``q``; an int counts too."""
        if not is_number(value) or not _is_finite(value):
            return False
        return self.q is None or _is_near(float(value), self.snap(value), self.q)

    def describe(self) -> str:
        """Return words for what is allowed."""
        return f"a finite float{_pattern(None, self.q)}"

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form; mean and sd are always written."""
        data: dict[str, Json] = {"type": self.type, "mean": self.mean, "sd": self.sd}
        return data if self.q is None else data | {"q": self.q}


def _decimal(number: float) -> Fraction:
    """Return the decimal number that a float stands for: 0.1 is one tenth."""
    return Fraction(repr(number))


def _first_multiple(ratio: Fraction) -> int:
    """Return the first integer from ``ratio`` on; never 0 for a ratio above 0."""
    return math.ceil(ratio - _NEAR * min(Fraction(1), abs(ratio)))


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an int beyond every float
        return False


def _is_near(number: float, value: float, spacing: float | None) -> bool:
    tolerance = max(float(_NEAR) * (spacing or 0.0), 4 * math.ulp(value))
    return abs(number - value) <= tolerance


def _pattern(step: float | None, q: float | None) -> str:
    if q is not None:
        return f" that is a multiple of {q!r}"
    return f" in steps of {step!r}" if step is not None else ""


def _check_range(low: float, high: float) -> None:
    if low > high:
        raise SpecError("low", f"{low!r} is above high, which is {high!r}", "swap the two")


def _check_log(low: float, high: float) -> None:
    if low <= 0:
        problem = f"a log scale cannot begin at {low!r}"
        raise SpecError("low", problem, "give a number above 0, or leave log out")
    if math.isinf(high / low):
        raise SpecError("low", f"from {low!r} to {high!r} are too many orders of magnitude")


def _refuse_both(step: bool, q: bool) -> None:
    if step and q:
        raise SpecError("q", "step and q exclude each other", "leave one of them out")
