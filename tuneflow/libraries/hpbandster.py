"""BOHB's generator of HpBandSter behind the methods of `Library`.

It is a model of all trials, made anew whenever it is asked. All numbers are units of [0, 1] to it:
that is what its densities are over anyway, and the bounds of ConfigSpace are no matter.

It draws from NumPy's global generator. A model that fails it hides as a random pick; here that is
an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import ConfigSpace
import numpy
from hpbandster.optimizers.config_generators.bohb import BOHB

from tuneflow.libraries.base import (
    Model,
    Parameter,
    Trial,
    Values,
    from_unit,
    global_seed,
    quiet,
    to_unit,
)

_BUDGET = 1.0
"""Results of one level are told, so there is one budget."""

_TRIES = 20
"""How often a proposal is made anew because a pending trial has its values."""


class HpBandSter(Model):
    """The generator ``CG_BOHB``; options are its arguments."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        # Names of its own, as those of ConfigSpace may not have every character.
        self._names = {own.path: f"p{number:04}" for number, own in enumerate(parameters)}
        self._space = self._configuration_space()
        self._vectors: dict[int, Any] = {}

    def began(self, trial: int, values: Values, seed: int | None) -> None:
        """Note that a trial runs, and where it lies."""
        super().began(trial, values, seed)
        self._vectors[trial] = self._configuration(values).get_array()

    def ask(self, seed: int) -> Values:
        """Return the generator's pick."""
        pending = [trial.values for trial in self.pending()]
        with quiet(), global_seed(seed):
            self._space.seed(seed)
            generator = self._generator()
            values = self._pick(generator)
            for _ in range(_TRIES):
                if values not in pending:
                    break
                values = self._pick(generator)
        return values

    def _generator(self) -> Any:
        """Return a generator that was told all results; its log is a list of what went wrong."""
        log = _Log()
        # Its share of random picks is drawn here, where they can be told from failed models.
        options = {**self.options, "random_fraction": 0.0}
        generator = BOHB(configspace=self._space, logger=log, **options)
        ended = [(number, t) for number, t in self.trials.items() if t.state != "pending"]
        if ended:
            # What it would have noted if it had been told of each; only the last makes a model.
            generator.configs[_BUDGET] = [self._vectors[number] for number, _ in ended[:-1]]
            generator.losses[_BUDGET] = [_loss(trial) for _, trial in ended[:-1]]
            generator.new_result(self._job(ended[-1][1]))
        return generator

    def _job(self, trial: Trial) -> SimpleNamespace:
        """Return a result as HpBandSter has it."""
        loss = _loss(trial)
        return SimpleNamespace(
            kwargs={"budget": _BUDGET, "config": dict(self._configuration(trial.values))},
            result=None if loss == numpy.inf else {"loss": loss},
            exception=None,
        )

    def _pick(self, generator: Any) -> Values:
        has_model = bool(generator.kde_models)
        if not has_model or numpy.random.rand() < self.options["random_fraction"]:
            return self._values(dict(self._space.sample_configuration()))
        said, information = generator.get_config(_BUDGET)
        failures = generator.logger.failures
        if not information["model_based_pick"] and failures:
            raise RuntimeError(f"the model failed: {failures[-1]}")
        return self._values(said)

    def _configuration_space(self) -> Any:
        space = ConfigSpace.ConfigurationSpace()
        for own in self.parameters:
            name = self._names[own.path]
            if own.kind == "choice":
                choices = list(range(own.size))
                node: Any = ConfigSpace.CategoricalHyperparameter(name, choices)
            else:
                node = ConfigSpace.UniformFloatHyperparameter(name, 0.0, 1.0)
            space.add(node)
            if own.parent:
                parent = space[self._names[own.parent]]
                space.add(ConfigSpace.EqualsCondition(node, parent, own.option))
        return space

    def _configuration(self, values: Values) -> Any:
        found = {
            self._names[own.path]: _to(own, values[own.path])
            for own in self.parameters
            if own.path in values
        }
        return ConfigSpace.Configuration(self._space, values=found)

    def _values(self, said: Mapping[str, Any]) -> Values:
        return {
            own.path: _from(own, said[self._names[own.path]])
            for own in self.parameters
            if self._names[own.path] in said
        }


class _Log:
    """A logger that keeps what went wrong."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def debug(self, *_: Any) -> None:
        """Pass over what goes well."""

    def warning(self, text: str, *arguments: Any) -> None:
        """Keep the last line, in which a traceback says what it is."""
        lines = str(text % arguments if arguments else text).strip().splitlines()
        failure = [line for line in lines if "Error" in line or "Exception" in line]
        self.failures += failure[-1:]


def _loss(trial: Trial) -> float:
    return float("inf") if trial.loss is None else trial.loss


def _to(own: Parameter, value: float) -> float | int:
    return int(value) if own.kind == "choice" else min(max(to_unit(own, value), 0.0), 1.0)


def _from(own: Parameter, value: Any) -> float | int:
    return int(value) if own.kind == "choice" else from_unit(own, float(value))


LIBRARY = HpBandSter
