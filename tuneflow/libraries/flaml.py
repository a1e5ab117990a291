"""CFO and BlendSearch of flaml behind the methods of `Library`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from numpy.random import default_rng

from tuneflow.libraries.base import Parameter, Stateful, Values, from_unit, quiet

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that its automatic machine learning is not installed
    from flaml.tune.sample import choice, lograndint, loguniform, randint, uniform
    from flaml.tune.searcher.blendsearch import CFO, BlendSearch

_TRIES = 20
"""How often a search is asked that answers with nothing, as flaml's own loop does."""


class Flaml(Stateful):
    """One of flaml's searches. Its parameters have names without meaning: flaml splits names.

    A search that has no proposal, for its local searches all wait, is helped out with a random
    one, as if it came from elsewhere. That is also how flaml begins a local search.
    """

    def make(self) -> Any:
        """Return a new search, which draws from generators of its own."""
        self._names = {own.path: f"p{number:04}" for number, own in enumerate(self.parameters)}
        self._told: dict[str, dict[str, Any]] = {}
        kind = {"cfo": CFO, "blendsearch": BlendSearch}[self.options["algorithm"]]
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            with quiet():
                return kind(
                    metric="loss",
                    mode="min",
                    space={self._names[own.path]: _dimension(own) for own in self.parameters},
                    low_cost_partial_config=self._config(self.options["low_cost"]),
                    cost_attr=None,
                    seed=self.seed,
                )
        finally:
            optuna.logging.set_verbosity(verbosity)

    def propose(self, optimizer: Any, seed: int) -> tuple[Any, Values]:
        """Ask the search; the token is the name of the trial."""
        token = self._new_token()
        with quiet():
            for _ in range(_TRIES):
                config = optimizer.suggest(token)
                if config is not None:
                    self._told[token] = config
                    return token, self._values(config)
        draw = default_rng(seed).random
        values: Values = {own.path: _drawn(own, draw()) for own in self.parameters}
        self._told[token] = self._config(values)
        return token, values

    def adopt(self, optimizer: Any, values: Values) -> Any:
        """Name a trial that the search will hear of when it ends."""
        token = self._new_token()
        self._told[token] = self._config(values)
        return token

    def learn(self, optimizer: Any, token: Any, loss: float | None) -> None:
        """Tell a result; of a failure, which flaml knows, that there is none."""
        config = self._told[token]
        result = {} if loss is None else {"loss": loss, "config": config}
        with quiet():
            optimizer.on_trial_complete(token, result, error=loss is None)

    def _new_token(self) -> str:
        return f"t{len(self._told)}"

    def _config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        kinds = {own.path: own.kind for own in self.parameters}
        return {
            self._names[path]: str(value) if kinds[path] == "choice" else value
            for path, value in values.items()
        }

    def _values(self, config: Mapping[str, Any]) -> Values:
        found = {own.path: (own, config[self._names[own.path]]) for own in self.parameters}
        return {
            path: float(value) if own.kind == "float" else int(value)
            for path, (own, value) in found.items()
        }


def _dimension(own: Parameter) -> Any:
    if own.kind == "choice":
        return choice([str(position) for position in range(own.size)])  # numbers have an order
    if own.kind == "float":
        return (loguniform if own.log else uniform)(own.low, own.high)
    low, high = int(own.low), int(own.high) + 1
    return (lograndint if own.log else randint)(low, high)


def _drawn(own: Parameter, unit: float) -> float | int:
    return int(unit * own.size) if own.kind == "choice" else from_unit(own, unit)


LIBRARY = Flaml
