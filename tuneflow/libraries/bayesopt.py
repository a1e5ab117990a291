"""bayesian-optimization behind the methods of `Library`.

It knows floats between bounds. So each number is a float in [0, 1], on a log scale where it has
one, and each choice is as many floats as there are positions, of which the largest counts. Trials
are registered at the places that their values have, not at those that were proposed: this is how
integers and choices are to be treated (Garrido-Merchan and Hernandez-Lobato, "Dealing with
categorical and integer-valued variables in Bayesian Optimization with Gaussian processes",
Neurocomputing 2020).
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from bayes_opt import BayesianOptimization, UtilityFunction

from tuneflow.libraries.base import Model, Parameter, Values, from_unit, quiet, to_unit


class BayesOpt(Model):
    """A `BayesianOptimization` that is made anew and told everything whenever it is asked."""

    def ask(self, seed: int) -> Values:
        """Return a random point at first, then the one that the acquisition prefers."""
        names = [name for own in self.parameters for name in _names(own)]
        with quiet():
            optimizer = BayesianOptimization(
                f=None,
                pbounds=dict.fromkeys(names, (0.0, 1.0)),
                random_state=seed,
                verbose=0,
                allow_duplicate_points=True,
            )
            if len(self.known()) < self.options["init_points"]:
                return self._values(
                    optimizer.space.array_to_params(optimizer.space.random_sample())
                )
            # A lie that is the mean says nothing but that somebody is there.
            for trial, loss in zip(self.trials.values(), self.losses(fmean), strict=True):
                optimizer.register(self._places(trial.values), -loss)
            return self._values(optimizer.suggest(self._acquisition()))

    def _acquisition(self) -> Any:
        given = self.options
        return UtilityFunction(kind=given["acquisition"], kappa=given["kappa"], xi=given["xi"])

    def _places(self, values: Values) -> dict[str, float]:
        places: dict[str, float] = {}
        for own in self.parameters:
            value = values[own.path]
            if own.kind == "choice":
                places |= {name: float(n == value) for n, name in enumerate(_names(own))}
            else:
                places[own.path] = to_unit(own, value)
        return places

    def _values(self, places: dict[str, Any]) -> Values:
        values: Values = {}
        for own in self.parameters:
            found = [float(places[name]) for name in _names(own)]
            if own.kind == "choice":
                values[own.path] = found.index(max(found))
            else:
                values[own.path] = from_unit(own, found[0])
        return values


def _names(own: Parameter) -> list[str]:
    if own.kind == "choice":
        return [f"{own.path} is {position}" for position in range(own.size)]
    return [own.path]


LIBRARY = BayesOpt
