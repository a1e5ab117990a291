"""How each form of Python objective is driven: a function, a generator or a class."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tuneflow.errors import ObjectiveError
from tuneflow.objective.parameters import WithParameters
from tuneflow.objective.session import Session


def drive(target: Callable[..., Any], session: Session) -> None:
    """Run a Python objective to its end, every report through ``session``.

    Raises whatever the objective raises, and `TrialStopped` when it is to end early.
    """
    config = copy.deepcopy(session.context.segment.params)
    function = target.function if isinstance(target, WithParameters) else target
    if inspect.isclass(function) and hasattr(function, "step"):
        data = target.parameters if isinstance(target, WithParameters) else {}
        _drive_class(function, config, data, session)
        return
    result = target(config)
    if isinstance(result, Iterator):
        result = _drive_iterator(result, session)
    if result is not None:
        session.report(result, None, None, "the objective returned")


def _drive_iterator(values: Iterator[Any], session: Session) -> Any:
    """Report what is yielded; return what the generator returns."""
    try:
        while True:
            metrics, checkpoint = _split(next(values))
            session.report(metrics, None, checkpoint, "the objective yielded")
    except StopIteration as end:
        return end.value
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()


def _split(value: Any) -> tuple[Any, Any]:
    """Take ``metrics`` or ``(metrics, checkpoint)`` apart."""
    return value if isinstance(value, tuple) and len(value) == 2 else (value, None)


def _drive_class(
    cls: Callable[[], Any], config: dict[str, Any], data: dict[str, Any], session: Session
) -> None:
    """Step an instance until a step returns None."""
    trainable = cls()
    trainable.setup(config, **data)
    try:
        if session.restore is not None:
            _restore(trainable, session.restore)
        save = _method(trainable, "save", "save_checkpoint")
        while (metrics := trainable.step()) is not None:
            session.report(metrics, None, save, "step() returned")
    finally:
        cleanup = _method(trainable, "cleanup", "close")
        if cleanup is not None:
            cleanup()


def _restore(trainable: Any, directory: Path) -> None:
    restore = _method(trainable, "restore", "load_checkpoint")
    if restore is None:
        name = type(trainable).__name__
        raise ObjectiveError(f"{name} saves checkpoints but has no restore(directory) to load one")
    restore(directory)


def _method(trainable: Any, name: str, alias: str) -> Any:
    return getattr(trainable, name, None) or getattr(trainable, alias, None)
