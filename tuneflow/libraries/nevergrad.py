"""nevergrad behind the methods of `Library`.

From NumPy 2.4 on, the models that some optimizers fit raise TypeError in nevergrad 1.0.12, as they
make a float of an array. Here that is what nevergrad calls the failure of a model: the optimizer
goes on without it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import nevergrad
from nevergrad.common.errors import TellNotAskedNotSupportedError
from nevergrad.optimization import optimizerlib
from nevergrad.optimization.metamodel import MetaModelFailure, learn_on_k_best
from numpy.random import RandomState

from tuneflow.libraries.base import Parameter, Stateful, Values, from_unit, quiet, to_unit


def _learn_or_fail(*arguments: Any, **more: Any) -> Any:
    try:
        return learn_on_k_best(*arguments, **more)
    except TypeError as error:
        raise MetaModelFailure(str(error)) from error


optimizerlib.learn_on_k_best = _learn_or_fail


class Nevergrad(Stateful):
    """One of nevergrad's optimizers, of its registry.

    Numbers are scalars in [0, 1], on a log scale where they have one. Everything is drawn from one
    generator, which is seeded for each proposal.
    """

    _worst: float | None = None

    def make(self) -> Any:
        """Return a new optimizer."""
        self._worst, given = None, self.options
        dimensions = {own.path: _dimension(own) for own in self.parameters}
        parametrization = nevergrad.p.Dict(**dimensions)
        parametrization.random_state = RandomState(self.seed)
        kind = nevergrad.optimizers.registry.get(given["optimizer"])
        if kind is None:
            raise ValueError(f"there is no optimizer {given['optimizer']!r} in the registry")
        if kind.no_parallelization:
            raise ValueError(f"{kind} proposes nothing while a trial runs: take a parallel one")
        with quiet():
            return kind(parametrization, budget=given["budget"], num_workers=given["num_workers"])

    def propose(self, optimizer: Any, seed: int) -> tuple[Any, Values]:
        """Ask for a candidate, which is the token."""
        optimizer.parametrization.random_state.seed(seed)
        with quiet():
            candidate = optimizer.ask()
        return candidate, {
            own.path: _number(own, candidate.value[own.path]) for own in self.parameters
        }

    def adopt(self, optimizer: Any, values: Values) -> Any:
        """Make a candidate of values; optimizers take most of what they have not proposed."""
        places = {own.path: _place(own, values[own.path]) for own in self.parameters}
        return optimizer.parametrization.spawn_child(new_value=places)

    def learn(self, optimizer: Any, token: Any, loss: float | None) -> None:
        """Tell a result; a failed trial is as bad as the worst, and not told before any."""
        told = self._worst if loss is None else loss
        if told is None:
            return
        self._worst = told if self._worst is None else max(self._worst, told)
        with quiet(), suppress(TellNotAskedNotSupportedError):
            optimizer.tell(token, told)


def _dimension(own: Parameter) -> Any:
    if own.kind == "choice":
        return nevergrad.p.Choice(range(own.size))
    return nevergrad.p.Scalar(lower=0.0, upper=1.0)


def _number(own: Parameter, place: Any) -> float | int:
    return int(place) if own.kind == "choice" else from_unit(own, float(place))


def _place(own: Parameter, value: float) -> float | int:
    return int(value) if own.kind == "choice" else to_unit(own, value)


LIBRARY = Nevergrad
