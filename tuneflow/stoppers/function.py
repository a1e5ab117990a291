"""End a trial when a function of the user's says so."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.stoppers.base import Stopper, Watch, after, require, require_above_zero
from tuneflow.trial import Report, Resource

Judge: TypeAlias = Callable[[int, Mapping[str, float]], bool]
"""Called with a trial's number and what it reports, whether the trial is to end."""

_FIX = "write package.module:function"


@dataclass(frozen=True)
class Function(Stopper):
    """End a trial when a function returns true for its newest report.

    The function is called with the trial's number and a dict of the report's metrics, in which
    ``resource`` is the level. It must depend on nothing else, or a resumed study is not the study
    that was interrupted.

    Args:
        function: import path ``package.module:function``, or the function itself, which is kept
            by its path. It is imported before the first trial begins.
        interval: in rounds, how many resource units apart a trial is looked at. Only a scheduler
            that does not pause trials itself heeds it. Default: where the scheduler looks.
    """

    type: ClassVar[str] = "function"

    function: str | Judge
    interval: Resource | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", _path_of(self.function))
        if self.interval is not None:
            require_above_zero("interval", self.interval)

    def watch(self, history: History) -> Watch:
        """Return a watch that calls the function.

        Raises:
            SpecError: the function cannot be imported.
        """
        path = str(self.function)
        return _Calls(path, _load(path))

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the next level at which a trial is looked at."""
        return after(self.interval, resource, until)


class _Calls(Watch):
    """Calls the function for each report."""

    def __init__(self, path: str, function: Judge) -> None:
        self._path = path
        self._function = function

    def report(self, trial: int, report: Report) -> str | None:
        """Ask the function. Raises SpecError when it fails."""
        try:
            verdict = self._function(trial, {**report.metrics, "resource": report.resource})
        except Exception as error:
            problem = f"{self._path} raised {type(error).__name__}: {error}"
            raise SpecError("stop.function", problem) from error
        return f"{self._path} says so" if verdict else None


def _path_of(function: Any) -> str:
    """Return the import path of a function. Raises SpecError when it has none."""
    if isinstance(function, str):
        module, _, name = function.partition(":")
        require(bool(module and name), "function", f"{function!r} is not an import path", _FIX)
        return function
    home = getattr(function, "__module__", None) or "__main__"
    name = getattr(function, "__qualname__", "")
    is_lasting = home != "__main__" and bool(name)
    is_found = is_lasting and _found(importlib.import_module(home), name) is function
    problem = f"{function!r} cannot be imported by another process"
    require(is_found, "function", problem, "write it into a module, not into the script itself")
    return f"{home}:{name}"


def _found(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def _load(path: str) -> Judge:
    module, _, name = path.partition(":")
    try:
        found = _found(importlib.import_module(module), name)
    except Exception as error:
        problem = f"{path} cannot be imported: {type(error).__name__}: {error}"
        raise SpecError("stop.function", problem, _FIX) from error
    if not callable(found):
        raise SpecError("stop.function", f"{path} is not a function", _FIX)
    judge: Judge = found
    return judge
