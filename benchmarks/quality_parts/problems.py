"""Problems that need no download, each with a resource that buys accuracy.

All are minimised. `Problem.value` is what a trial reports; its noise is a function of the
configuration, the level and the seed, so every algorithm sees the same. `Problem.truth` is the
value without noise at the full resource; regret is measured in it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, ClassVar

from tuneflow.rng import generator
from tuneflow.space import Space
from tuneflow.space.makers import lograndint, loguniform, randint, uniform

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Axis:
    """One parameter: a float or an integer from ``low`` to ``high``, both included."""

    name: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def unit(self, value: float) -> float:
        """Return where a value lies between the bounds, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def domain(self) -> Any:
        """Return the domain of tuneflow."""
        if self.integer:
            make: Any = lograndint if self.log else randint
            return make(int(self.low), int(self.high) + 1)
        return (loguniform if self.log else uniform)(self.low, self.high)


class Problem(ABC):
    """Something to minimise, whose value at a level hints at its value at the full resource."""

    name: str
    axes: tuple[Axis, ...]
    resource: int
    best: float
    noisy: ClassVar[bool] = True

    @abstractmethod
    def at(self, point: Sequence[float], fidelity: float) -> float:
        """Return the value without noise; fidelity is the part of the full resource, above 0."""

    def noise(self, draw: float, fidelity: float) -> float:
        """Return what is added to the value; ``draw`` is of the standard normal distribution."""
        return 0.0

    def value(self, config: Mapping[str, Any], resource: float, seed: int) -> float:
        """Return what a trial reports."""
        point = self.point(config)
        value = self.at(point, resource / self.resource)
        if not self.noisy:
            return value
        unit = generator(seed, "noise", self.name, repr(point), repr(resource)).random()
        draw = _NORMAL.inv_cdf(min(max(unit, 1e-12), 1 - 1e-12))
        return value + self.noise(draw, resource / self.resource)

    def truth(self, config: Mapping[str, Any]) -> float:
        """Return the value at the full resource, without noise."""
        return self.at(self.point(config), 1.0)

    def regret(self, config: Mapping[str, Any]) -> float:
        """Return how much worse than the best configuration this one is."""
        return self.truth(config) - self.best

    def cost(self, config: Mapping[str, Any]) -> float:
        """Return the simulated seconds of one unit on a worker of ordinary speed."""
        return 1.0

    def point(self, config: Mapping[str, Any]) -> tuple[float, ...]:
        """Return the values of the axes in their order."""
        return tuple(float(config[axis.name]) for axis in self.axes)

    @property
    def levels(self) -> list[int]:
        """Every rung: 1, 3, 9 … and the full resource."""
        found = [self.resource]
        while found[0] >= 3:
            found.insert(0, found[0] // 3)
        return found

    @cached_property
    def space(self) -> Space:
        """The search space of tuneflow."""
        return Space({axis.name: axis.domain() for axis in self.axes})


class Bowl6(Problem):
    """A sphere in six dimensions, higher and noisier at low levels."""

    name = "bowl6"
    resource = 81
    axes = tuple(Axis(f"x{i}", 0.0, 1.0) for i in range(6))
    centre = (0.2, 0.8, 0.35, 0.65, 0.5, 0.9)
    best = 0.3 / 81

    def at(self, point: Sequence[float], fidelity: float) -> float:
        """Return the squared distance to the centre, plus what more resource would take off."""
        squares = sum((x - c) ** 2 for x, c in zip(point, self.centre, strict=True))
        return squares + 0.3 / (self.resource * fidelity)

    def noise(self, draw: float, fidelity: float) -> float:
        """Return noise that shrinks with the root of the resource."""
        return 0.02 * draw / math.sqrt(self.resource * fidelity)


class _Hartmann(Problem):
    """Hartmann's function, flattened and noisy at low levels.

    Kandasamy, Dasarathy, Schneider, Póczos: Multi-fidelity Bayesian Optimisation with Continuous
    Approximations, ICML 2017, with the bias and noise of mf-prior-bench's "moderate" setting.
    """

    resource = 27
    alpha = (1.0, 1.2, 3.0, 3.2)
    a: tuple[tuple[float, ...], ...]
    p: tuple[tuple[float, ...], ...]
    bias = 1.0
    spread = 0.2

    def at(self, point: Sequence[float], fidelity: float) -> float:
        """Return the value; its four peaks are lower by the bias at low fidelity."""
        total = 0.0
        for alpha, a_row, p_row in zip(self.alpha, self.a, self.p, strict=True):
            inner = sum(a * (x - p) ** 2 for x, a, p in zip(point, a_row, p_row, strict=True))
            total += (alpha - self.bias * (1 - fidelity)) * math.exp(-inner)
        return -total

    def noise(self, draw: float, fidelity: float) -> float:
        """Return noise that only makes worse, and is gone at the full resource."""
        return abs(draw) * self.spread * (1 - fidelity)


class MFHartmann3(_Hartmann):
    """Three dimensions; four local minima."""

    name = "mfhartmann3"
    axes = tuple(Axis(f"x{i}", 0.0, 1.0) for i in range(3))
    a = ((3.0, 10, 30), (0.1, 10, 35), (3.0, 10, 30), (0.1, 10, 35))
    p = (
        (0.3689, 0.1170, 0.2673),
        (0.4699, 0.4387, 0.7470),
        (0.1091, 0.8732, 0.5547),
        (0.0381, 0.5743, 0.8828),
    )
    best = -3.862782


class MFHartmann6(_Hartmann):
    """Six dimensions; six local minima."""

    name = "mfhartmann6"
    axes = tuple(Axis(f"x{i}", 0.0, 1.0) for i in range(6))
    a = (
        (10, 3, 17, 3.5, 1.7, 8),
        (0.05, 10, 17, 0.1, 8, 14),
        (3, 3.5, 1.7, 10, 17, 8),
        (17, 8, 0.05, 10, 0.1, 14),
    )
    p = (
        (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
        (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
        (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
        (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
    )
    best = -3.322368


class Branin(Problem):
    """Branin's function; its coefficients drift with the fidelity (Kandasamy et al., 2017)."""

    name = "branin"
    resource = 27
    axes = (Axis("x0", -5.0, 10.0), Axis("x1", 0.0, 15.0))
    best = 0.397887

    def at(self, point: Sequence[float], fidelity: float) -> float:
        """Return the value; away from the full resource its valleys lie elsewhere."""
        x, y = point
        lack = 1 - fidelity
        b = 5.1 / (4 * math.pi**2) - 0.01 * lack
        c = 5 / math.pi - 0.1 * lack
        t = 1 / (8 * math.pi) + 0.05 * lack
        return (y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - t) * math.cos(x) + 10

    def noise(self, draw: float, fidelity: float) -> float:
        """Return noise that shrinks with the root of the resource."""
        return 0.2 * draw / math.sqrt(self.resource * fidelity)


class Forrester(Problem):
    """Forrester's function of one parameter, with its cheap form at no fidelity.

    Forrester, Sóbester, Keane: Multi-fidelity Optimization via Surrogate Modelling, 2007.
    """

    name = "forrester"
    resource = 27
    axes = (Axis("x0", 0.0, 1.0),)
    best = -6.020740

    def at(self, point: Sequence[float], fidelity: float) -> float:
        """Return the mean of the true and the cheap form, weighted by the fidelity."""
        (x,) = point
        true = (6 * x - 2) ** 2 * math.sin(12 * x - 4)
        cheap = 0.5 * true + 10 * (x - 0.5) - 5
        return fidelity * true + (1 - fidelity) * cheap

    def noise(self, draw: float, fidelity: float) -> float:
        """Return noise that shrinks with the root of the resource."""
        return 0.2 * draw / math.sqrt(self.resource * fidelity)


SYNTHETIC: tuple[type[Problem], ...] = (Bowl6, MFHartmann3, MFHartmann6, Branin, Forrester)
