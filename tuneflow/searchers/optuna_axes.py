"""The domains of a space as Optuna knows parameters, and the way back.

| domain | in Optuna |
| --- | --- |
| float, also on a log scale | the same |
| integer, also on a log scale | the same |
| float or integer with a step | an integer: the position among the values |
| listed values, the options of a branch | a categorical: the position in the list |
| anything else | a float in [0, 1), which the domain's `from_unit` turns into a value |

Positions keep Optuna's arithmetic away from the values, which so always lie in the space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuneflow.space import Domain, Float, Int, Json, Space
from tuneflow.space.domains import Listed
from tuneflow.space.lattice import LARGEST_UNIT

if TYPE_CHECKING:
    from optuna.trial import Trial

_LARGEST_EXACT: Final = 2**50
"""Optuna and `to_unit` compute with doubles, which tell whole numbers apart up to here."""


@dataclass(frozen=True)
class Axis(ABC):
    """One parameter in Optuna's terms.

    Attributes:
        domain: the domain in the space.
        distribution: what Optuna takes it for.
    """

    domain: Domain
    distribution: BaseDistribution

    @abstractmethod
    def suggest(self, trial: Trial, path: str) -> Json:
        """Ask Optuna for a value, and return that of the space."""

    @abstractmethod
    def encode(self, value: Any) -> int | float:
        """Return what Optuna has in place of a value of the space."""


class FloatAxis(Axis):
    """A float as it is."""

    domain: Float
    distribution: FloatDistribution

    def suggest(self, trial: Trial, path: str) -> Json:
        """Return the float that Optuna suggests."""
        own = self.distribution
        return self.domain.snap(trial.suggest_float(path, own.low, own.high, log=own.log))

    def encode(self, value: Any) -> float:
        """Return the float itself."""
        return self.domain.snap(value)


class IntAxis(Axis):
    """An integer as it is."""

    domain: Int
    distribution: IntDistribution

    def suggest(self, trial: Trial, path: str) -> Json:
        """Return the integer that Optuna suggests."""
        own = self.distribution
        return trial.suggest_int(path, own.low, own.high, log=own.log)

    def encode(self, value: Any) -> int:
        """Return the integer itself."""
        return self.domain.snap(value)


class StepAxis(Axis):
    """The position of a value among evenly spaced ones."""

    distribution: IntDistribution

    def suggest(self, trial: Trial, path: str) -> Json:
        """Return the value at the position that Optuna suggests."""
        return self.domain.at(trial.suggest_int(path, 0, self.distribution.high))

    def encode(self, value: Any) -> int:
        """Return the position of the value."""
        return _position(self.domain, value)


class ListAxis(Axis):
    """The position of a value in a list; Optuna itself would take True, 1 and 1.0 for one."""

    distribution: CategoricalDistribution

    def suggest(self, trial: Trial, path: str) -> Json:
        """Return the value at the position that Optuna suggests."""
        position: Any = trial.suggest_categorical(path, self.distribution.choices)
        return self.domain.at(position)

    def encode(self, value: Any) -> int:
        """Return the position of the value."""
        return _position(self.domain, value)


class UnitAxis(Axis):
    """A number in [0, 1) that the domain turns into a value by its prior."""

    def suggest(self, trial: Trial, path: str) -> Json:
        """Return the value for the number that Optuna suggests."""
        return self.domain.from_unit(trial.suggest_float(path, 0.0, LARGEST_UNIT))

    def encode(self, value: Any) -> float:
        """Return the number for the value."""
        return self.domain.to_unit(value)


def axis(domain: Domain) -> Axis:
    """Return a domain in Optuna's terms."""
    if isinstance(domain, Listed):
        return ListAxis(domain, CategoricalDistribution(range(domain.size)))
    if isinstance(domain, Float) and domain.spacing is None:
        return FloatAxis(domain, FloatDistribution(domain.low, domain.high, domain.log))
    if isinstance(domain, Int) and _is_plain(domain):
        return IntAxis(domain, IntDistribution(domain.low, domain.high, domain.log))
    if isinstance(domain, Float | Int) and domain.q is None and not domain.log:
        size = domain.size or 1
        if size <= _LARGEST_EXACT:
            return StepAxis(domain, IntDistribution(0, size - 1))
    return UnitAxis(domain, FloatDistribution(0.0, LARGEST_UNIT))


def _is_plain(domain: Int) -> bool:
    is_small = max(abs(domain.low), abs(domain.high)) <= _LARGEST_EXACT
    return is_small and domain.step == 1 and domain.q is None


def _position(domain: Domain, value: Any) -> int:
    """Return the position of one of several equally likely values."""
    return int(domain.to_unit(value) * (domain.size or 1))


class Axes:
    """All parameters of a space in Optuna's terms.

    Args:
        space: the space.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._axes = {path: axis(domain) for path, domain in space.domains().items()}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return the configuration that Optuna suggests."""
        return self._space.build(lambda path, _: self._axes[path].suggest(trial, path))

    def params(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters that Optuna would have suggested for a configuration."""
        values = self._space.values(config).items()
        return {path: self._axes[path].encode(value) for path, value in values}

    def distributions(self, params: dict[str, Any]) -> dict[str, BaseDistribution]:
        """Return the distributions of these parameters."""
        return {path: self._axes[path].distribution for path in params}
