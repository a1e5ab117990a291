"""scikit-optimize behind the methods of `Library`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skopt import Optimizer
from skopt.space import Categorical, Integer, Real

from tuneflow.libraries.base import Model, Parameter, Values, quiet


class SkOpt(Model):
    """An `Optimizer` that is made anew and told everything whenever it is asked."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        # Told in one go, the model is fitted once; pending trials are lied about as `ask(n)` does.
        self._dimensions = [_dimension(own) for own in self.parameters]

    def ask(self, seed: int) -> Values:
        """Return what an optimizer that knows all trials asks for."""
        with quiet():
            optimizer = Optimizer(
                self._dimensions,
                base_estimator=self.options["base_estimator"],
                n_initial_points=self.options["n_initial_points"],
                acq_func=self.options["acq_func"],
                random_state=seed,
            )
            if self.trials:
                points = [self._point(trial.values) for trial in self.trials.values()]
                optimizer.tell(points, self.losses(min))
            said = optimizer.ask()
        found = zip(self.parameters, said, strict=True)
        return {own.path: float(v) if own.kind == "float" else int(v) for own, v in found}

    def _point(self, values: Values) -> list[float | int]:
        return [values[own.path] for own in self.parameters]


def _dimension(own: Parameter) -> Any:
    if own.kind == "choice":
        return Categorical(range(own.size))
    prior = "log-uniform" if own.log else "uniform"
    if own.kind == "float":
        return Real(own.low, own.high, prior=prior)
    return Integer(int(own.low), int(own.high), prior=prior)


LIBRARY = SkOpt
