"""`@task.tune`: a training function becomes a study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tuneflow.airflow.best_output import BestOutput
from tuneflow.airflow.group import tune_task_group
from tuneflow.errors import SpecError


def tune_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,
    **settings: Any,
) -> Callable[[Callable[..., Any]], Callable[..., BestOutput]]:
    """Turn a training function into one that makes the tasks of a study.

        @task.tune(space={"lr": Float(1e-4, 1e-1, log=True)}, metric="accuracy", mode="max", …)
        def train(config): …

        best = train()

    Args:
        python_callable: the function, when the decorator is written without arguments.
        multiple_outputs: not used; ``best["config"]`` works in any case.
        settings: the keywords of `tune_task_group`; ``group_id`` is the function's name unless
            it is given.

    Raises SpecError when the arguments are missing.
    """
    if python_callable is not None:
        raise SpecError(
            "@task.tune", "the study's arguments are missing", "write @task.tune(space={…}, …)"
        )
    if multiple_outputs:
        raise SpecError("multiple_outputs", "a study returns one mapping", "leave it out")

    def decorate(function: Callable[..., Any]) -> Callable[..., BestOutput]:
        def make(*args: Any, **kwargs: Any) -> BestOutput:
            if args or kwargs:
                problem = "it was called with arguments; trials get theirs from the space"
                raise SpecError(function.__name__, problem, f"write {function.__name__}()")
            return tune_task_group(function, **{"group_id": function.__name__, **settings})

        make.__name__ = function.__name__
        make.__doc__ = function.__doc__
        return make

    return decorate
