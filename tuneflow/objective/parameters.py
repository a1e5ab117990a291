"""Large data beside the configuration, shipped to each worker once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tuneflow.errors import ObjectiveError


class WithParameters:
    """An objective together with the data it is called with; made by `with_parameters`.

    Attributes:
        function: the objective: a function, a generator function or a class.
        parameters: the data, by the names of the objective's keyword arguments.
    """

    def __init__(self, function: Callable[..., Any], parameters: dict[str, Any]) -> None:
        self.function = function
        self.parameters = parameters
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, config: Any) -> Any:
        """Call the objective with its data."""
        return self.function(config, **self.parameters)


def with_parameters(train: Callable[..., Any], /, **data: Any) -> WithParameters:
    """Bind large data to an objective: it is called as ``train(config, **data)``.

    Executors send the data to each worker once, not with each trial. A class gets the data in
    its ``setup``.

    Raises:
        ObjectiveError: ``train`` cannot be called.
    """
    if not callable(train):
        raise ObjectiveError(f"with_parameters() takes a function or a class, not {train!r}")
    if isinstance(train, WithParameters):
        return WithParameters(train.function, {**train.parameters, **data})
    return WithParameters(train, data)
