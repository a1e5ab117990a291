"""Ax behind the methods of `Library`.

An experiment is made anew from all trials whenever it is asked. Its parameters have names without
meaning, as not every character is allowed there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tuneflow.libraries.base import Model, Parameter, Values, quiet

_before = logging.root.manager.disable
logging.disable(logging.INFO)  # it says what database it could use
try:
    from ax.api.client import Client
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
    from ax.exceptions.core import SearchSpaceExhausted
    from ax.utils.common.logger import set_stderr_log_level
finally:
    logging.disable(_before)


class Ax(Model):
    """A client of Ax: points of a Sobol sequence, then a Gaussian process of BoTorch."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        set_stderr_log_level(logging.ERROR)  # it tells of every trial
        self._names = {own.path: f"p{number:04}" for number, own in enumerate(parameters)}

    def ask(self, seed: int) -> Values:
        """Return the next trial of an experiment in which all trials have been."""
        with quiet():
            said = self._next(seed % 2**31)
        found = {own.path: (own, said[self._names[own.path]]) for own in self.parameters}
        return {
            path: float(value) if own.kind == "float" else int(value)
            for path, (own, value) in found.items()
        }

    def _next(self, seed: int) -> Mapping[str, Any]:
        if len(self.known()) >= self.options["n_initial"]:
            client = self._client(seed, "fast")
            self._tell(client)
            with suppress(SearchSpaceExhausted):  # where all has been tried, it may be again
                return _proposed(client)
        return _proposed(self._client(seed, "random_search"))

    def _client(self, seed: int, method: Any) -> Client:
        client = Client(random_seed=seed)
        client.configure_experiment([self._dimension(own) for own in self.parameters])
        client.configure_optimization(objective="-loss")
        client.configure_generation_strategy(
            method=method,
            initialization_budget=0 if method == "fast" else None,
            initialization_random_seed=seed,
            initialize_with_center=False,
        )
        return client

    def _tell(self, client: Client) -> None:
        """Tell all trials; Ax itself knows what a pending one is."""
        for trial, loss in zip(self.trials.values(), self.losses(max), strict=True):
            given = {self._names[path]: value for path, value in trial.values.items()}
            number = client.attach_trial(given)
            if trial.state != "pending":
                client.complete_trial(number, raw_data={"loss": loss})

    def _dimension(self, own: Parameter) -> Any:
        name = self._names[own.path]
        if own.kind == "choice":
            return ChoiceParameterConfig(name, list(range(own.size)), "int", is_ordered=False)
        scaling: Any = "log" if own.log else "linear"
        if own.kind == "float":
            return RangeParameterConfig(name, (own.low, own.high), "float", scaling=scaling)
        bounds = (int(own.low), int(own.high))
        return RangeParameterConfig(name, bounds, "int", scaling=scaling)


def _proposed(client: Client) -> Mapping[str, Any]:
    found: list[Mapping[str, Any]] = list(client.get_next_trials(max_trials=1).values())
    return found[0]


LIBRARY = Ax
