"""HEBO behind the methods of `Library`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy
import pandas
import torch
from hebo.acq_optimizers.evolution_optimizer import EvolutionOpt
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers import hebo

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

_LARGEST = 1e30
"""HEBO computes with numbers of single precision, which end at 3e38."""


class HEBO(Model):
    """A `HEBO` that is made anew and told everything whenever it is asked."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        self._space = DesignSpace().parse([_dimension(own) for own in self.parameters])

    def ask(self, seed: int) -> Values:
        """Return a point of a Sobol' sequence, and what HEBO says once enough is known."""
        with quiet(), _seeded(seed), _generations(self.options["generations"]):
            optimizer = hebo.HEBO(
                self._space,
                model_name=self.options["model"],
                rand_sample=self.options["rand_sample"],
                model_config=self.options["model_config"],
                scramble_seed=self.seed,
            )
            # It also falls back on its sequence later on.
            optimizer.sobol.fast_forward(len(self.trials))
            if len(self.known()) < optimizer.rand_sample:
                said = optimizer.quasi_sample(1)
            else:
                optimizer.observe(*self._observations())
                said = _suggested(optimizer)
        found = said.iloc[0]
        return {own.path: _from(own, found[own.path]) for own in self.parameters}

    def _observations(self) -> tuple[pandas.DataFrame, numpy.ndarray]:
        """Return all trials as HEBO has them; a pending one is as bad as the worst."""
        losses = numpy.clip(self.losses(max), -_LARGEST, _LARGEST)
        points = pandas.DataFrame([self._point(trial) for trial in self.trials.values()])
        return points, losses.reshape(-1, 1)

    def _point(self, trial: Trial) -> dict[str, float | int]:
        return {own.path: _to(own, trial.values[own.path]) for own in self.parameters}


def _suggested(optimizer: Any) -> Any:
    """Return what the model suggests, or the next point of the sequence if it breaks down.

    It does at times, where there are choices only and most of them have been tried.
    """
    try:
        return optimizer.suggest()
    except (ValueError, RuntimeError):
        return optimizer.quasi_sample(1)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that HEBO draws from meanwhile."""
    with global_seed(seed), torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def _generations(count: int) -> Iterator[None]:
    """Let the search for the best point take so long; HEBO itself has a fixed number."""

    def make(*arguments: Any, **settings: Any) -> EvolutionOpt:
        return EvolutionOpt(*arguments, **{**settings, "iters": count})

    hebo.EvolutionOpt = make
    try:
        yield
    finally:
        hebo.EvolutionOpt = EvolutionOpt


def _dimension(own: Parameter) -> dict[str, Any]:
    """Return a parameter as HEBO has it; what is on a log scale comes as a share of it."""
    if own.kind == "choice":
        return {"name": own.path, "type": "cat", "categories": list(range(own.size))}
    if own.kind == "int" and not own.log:
        return {"name": own.path, "type": "int", "lb": int(own.low), "ub": int(own.high)}
    return {"name": own.path, "type": "num", "lb": 0.0, "ub": 1.0}


def _to(own: Parameter, value: float) -> float | int:
    return to_unit(own, value) if _is_share(own) else int(value)


def _from(own: Parameter, value: Any) -> float | int:
    return from_unit(own, float(value)) if _is_share(own) else int(value)


def _is_share(own: Parameter) -> bool:
    return own.kind == "float" or (own.kind == "int" and own.log)


LIBRARY = HEBO
