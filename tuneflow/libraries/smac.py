"""SMAC3 behind the methods of `Library`.

The parts are those of its facade for hyperparameter optimization. The facade itself would write
files, and plan an initial design by a number of trials that is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    EqualsCondition,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from joblib import parallel_config
from numpy.random import default_rng
from scipy.stats.qmc import Sobol
from smac import HyperparameterOptimizationFacade as Facade
from smac import Scenario
from smac.runhistory import RunHistory
from smac.utils.configspace import transform_continuous_designs

from tuneflow.libraries.base import Model, Parameter, Values, from_unit, quiet, to_unit

_MOST_INTEGERS = 2**20
"""ConfigSpace lists the neighbours of an integer; where there are more, it is a float to it."""


class SMAC(Model):
    """A random forest that is made anew from all trials whenever it is asked."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        # Names of its own, as those of ConfigSpace may not have every character.
        self._names = {own.path: f"p{number:04}" for number, own in enumerate(parameters)}
        self._space = self._configuration_space()
        with quiet():
            design = Sobol(len(parameters), seed=seed).random(options["n_initial"])
        self._initial = transform_continuous_designs(design, "Sobol", self._space)

    def ask(self, seed: int) -> Values:
        """Return a point of the initial design, one at random, or the model's preference."""
        self._space.seed(seed)
        if len(self.trials) < len(self._initial) or not self.known():
            at_hand = self._initial[len(self.trials) :]
            return self._values(at_hand[0] if at_hand else self._space.sample_configuration())
        if default_rng(seed).random() < self.options["random_fraction"]:
            return self._values(self._space.sample_configuration())
        # A thread for each small forest costs more than it saves.
        with quiet(), parallel_config(backend="sequential"):
            return self._values(self._preferred(seed))

    def _preferred(self, seed: int) -> Configuration:
        """Return the best new configuration that the acquisition function's maximizer finds."""
        history = RunHistory()
        tried = [self._configuration(trial.values) for trial in self.trials.values()]
        for config, loss in zip(tried, self.losses(fmean), strict=True):
            history.add(config, loss)
        scenario = Scenario(self._space, deterministic=True, seed=seed % 2**31)
        encoder = Facade.get_runhistory_encoder(scenario)
        encoder.runhistory = history
        places, costs = encoder.transform()
        model = Facade.get_model(scenario, n_trees=self.options["n_trees"])
        model.train(places, costs)
        acquisition = Facade.get_acquisition_function(scenario)
        best = float(model.predict_marginalized(places)[0].min())
        acquisition.update(model=model, eta=best, num_data=len(tried), X=places)
        maximizer = Facade.get_acquisition_maximizer(
            scenario,
            challengers=self.options["challengers"],
            local_search_iterations=self.options["local_searches"],
        )
        maximizer.acquisition_function = acquisition
        _order_starts(maximizer._local_search)
        found = maximizer.maximize(tried)
        return next((config for config in found if config not in tried), tried[0])

    def _configuration_space(self) -> ConfigurationSpace:
        space, known = ConfigurationSpace(), dict[str, Any]()
        for own in self.parameters:
            known[own.path] = self._dimension(own)
            space.add(known[own.path])
            if own.parent:
                space.add(EqualsCondition(known[own.path], known[own.parent], own.option))
        return space

    def _dimension(self, own: Parameter) -> Any:
        name = self._names[own.path]
        if own.kind == "choice":
            return CategoricalHyperparameter(name, list(range(own.size)))
        if _is_integer(own):
            return UniformIntegerHyperparameter(name, int(own.low), int(own.high), log=own.log)
        return UniformFloatHyperparameter(name, 0.0, 1.0)

    def _configuration(self, values: Values) -> Configuration:
        given = {}
        for own in self.parameters:
            if own.path in values:
                value = values[own.path]
                is_plain = own.kind == "choice" or _is_integer(own)
                given[self._names[own.path]] = value if is_plain else to_unit(own, value)
        return Configuration(self._space, values=given)

    def _values(self, config: Configuration) -> Values:
        said = dict(config)
        values: Values = {}
        for own in self.parameters:
            if self._names[own.path] in said:
                value = said[self._names[own.path]]
                is_plain = own.kind == "choice" or _is_integer(own)
                values[own.path] = int(value) if is_plain else from_unit(own, float(value))
        return values


def _order_starts(search: Any) -> None:
    """Let a local search begin at its points in an order that is the same in every process.

    They are a set in SMAC 2.4, whose order depends on Python's hashes of texts.
    """
    found = search._get_init_points_from_previous_configs

    def ordered(*arguments: Any, **more: Any) -> list[Configuration]:
        points: list[Configuration] = found(*arguments, **more)
        return sorted(points, key=lambda config: config.get_array().tobytes())

    search._get_init_points_from_previous_configs = ordered


def _is_integer(own: Parameter) -> bool:
    return own.kind == "int" and own.high - own.low < _MOST_INTEGERS


LIBRARY = SMAC
