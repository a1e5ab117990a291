"""Find a function by its name: ``file.py:function`` or ``package.module:function``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tuneflow.errors import ObjectiveError, did_you_mean

_PREFIX = "tuneflow_objective_"
_lock = threading.RLock()


def import_function(reference: str, base: Path) -> Callable[..., Any]:
    """Return what a reference names.

    Args:
        reference: ``file.py:function`` or ``module:function``; dots reach into classes.
        base: the folder that a relative file is looked for in, and that a module may lie in.

    Raises:
        ObjectiveError: it says which part is missing or failed, and how.
    """
    place, name = split_reference(reference)
    module = _import_file(base, place) if place.endswith(".py") else _import_module(base, place)
    return _function(module, name, place)


def import_text(text: str, reference: str, base: Path) -> Callable[..., Any]:
    """Return what ``file.py:function`` names, given the text of the file, which need not be here.

    Args:
        text: what is in the file.
        reference: as for `import_function`.
        base: the folder that a relative file would be in; modules beside it can be imported.

    Raises:
        ObjectiveError: it says which part is missing or failed, and how.
    """
    place, name = split_reference(reference)
    path = base / place
    digest = hashlib.sha256(f"{path}:{text}".encode()).hexdigest()[:12]
    with _lock:
        _make_findable(path.parent)
        unique = f"{_PREFIX}{path.stem}_{digest}"
        spec = importlib.util.spec_from_loader(unique, _Text(text, place), origin=place)
        return _function(sys.modules.get(unique) or _execute(spec, place), name, place)


def forget_files() -> None:
    """Import files that objectives name anew: a module that they import has been replaced."""
    with _lock:
        for name in [name for name in sys.modules if name.startswith(_PREFIX)]:
            del sys.modules[name]


def split_reference(reference: str) -> tuple[str, str]:
    """Return the file or module, and the name in it. Raises ObjectiveError for another form."""
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise ObjectiveError(
            f"the objective {reference!r} has not the form file.py:function or module:function"
        )
    return place, name


def is_importable(function: Any) -> bool:
    """Return whether ``module:qualname`` leads back to a function or class."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if module in (None, "__main__") or name is None or module not in sys.modules:
        return False
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is function


def origin(function: Any) -> str:
    """Return the reference of an importable function."""
    module = function.__module__
    file = sys.modules[module].__file__ if module.startswith(_PREFIX) else None
    return f"{file or module}:{function.__qualname__}"


def _import_file(base: Path, place: str) -> ModuleType:
    path = (base / place).resolve()
    if not path.is_file():
        raise ObjectiveError(f"the objective's file {path} does not exist")
    with _lock:
        name = _module_name(path)
        _make_findable(path.parent)
        spec = importlib.util.spec_from_file_location(name, path)
        return sys.modules.get(name) or _execute(spec, place)


def _module_name(path: Path) -> str:
    """Return a name that no other file has, nor this one once it is edited."""
    version = f"{path}:{path.stat().st_mtime_ns}"
    digest = hashlib.sha256(version.encode()).hexdigest()[:12]
    return f"{_PREFIX}{path.stem}_{digest}"


class _Text(InspectLoader):
    """Loads a module from a text.

    Args:
        text: the source.
        place: what tracebacks call the file.
    """

    def __init__(self, text: str, place: str) -> None:
        self._text = text
        self._place = place

    def get_source(self, fullname: str) -> str:
        """Return the text."""
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        """Compile the text."""
        return self.source_to_code(self._text, self._place)

    def exec_module(self, module: ModuleType) -> None:
        """Run the text; a file would tell its module where it is, too."""
        module.__file__ = self._place
        super().exec_module(module)


def _execute(spec: ModuleSpec | None, place: str) -> ModuleType:
    import cloudpickle

    if spec is None or spec.loader is None:
        raise ObjectiveError(f"the objective's file {place} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[spec.name]
        raise _explained(place, error) from error
    # Workers need not have the file.
    cloudpickle.register_pickle_by_value(module)
    return module


def _import_module(base: Path, place: str) -> ModuleType:
    with _lock:
        _make_findable(base.resolve())
        try:
            importlib.invalidate_caches()
            return importlib.import_module(place)
        except BaseException as error:
            raise _explained(place, error) from error


def _make_findable(folder: Path) -> None:
    """Let the modules beside the objective be imported."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _explained(place: str, error: BaseException) -> BaseException:
    """Return what to raise for an import that failed; Ctrl-C is not a failure."""
    if isinstance(error, KeyboardInterrupt):
        return error
    if isinstance(error, ModuleNotFoundError) and _is_part(error.name, place):
        return ObjectiveError(f"the objective's module {place!r} is not there: {error}")
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ObjectiveError(f"importing {place} failed: {message}{where}")


def _is_part(missing: str | None, place: str) -> bool:
    return missing is not None and f"{place}.".startswith(f"{missing}.")


def _function(module: ModuleType, name: str, place: str) -> Callable[..., Any]:
    found = _attribute(module, name, place)
    if not callable(found):
        raise ObjectiveError(f"{place}:{name} is {found!r}; it must be a function or a class")
    function: Callable[..., Any] = found
    return function


def _attribute(module: ModuleType, name: str, place: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = [known for known in vars(found) if not known.startswith("_")]
            near = did_you_mean(part, names)
            raise ObjectiveError(f"{place} has no {name!r}; {near}") from None
    return found
