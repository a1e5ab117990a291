"""A problem's axes as a ConfigSpace, for the libraries that search one."""

from __future__ import annotations

from typing import Any

from benchmarks.quality_parts.problems import Problem


def config_space(problem: Problem, seed: int) -> Any:
    """Return the space with its generator seeded."""
    import ConfigSpace
    from ConfigSpace.hyperparameters import UniformFloatHyperparameter, UniformIntegerHyperparameter

    space = ConfigSpace.ConfigurationSpace(seed=seed)
    for axis in problem.axes:
        kind = UniformIntegerHyperparameter if axis.integer else UniformFloatHyperparameter
        bound = int if axis.integer else float
        parameter = kind(axis.name, bound(axis.low), bound(axis.high), log=axis.log)
        add = getattr(space, "add", None) or space.add_hyperparameter
        add(parameter)
    return space
