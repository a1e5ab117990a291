"""Have the code of a project travel with a function: workers have packages, not the project."""

from __future__ import annotations

import functools
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tuneflow.objective.parameters import WithParameters

_lock = threading.Lock()


def is_installed(module: str) -> bool:
    """Return whether a module is part of Python, of an installed package, or of tuneflow."""
    if module.partition(".")[0] == "tuneflow":
        return True
    path = _path(sys.modules.get(module))
    if path is None:
        return module in sys.modules and module != "__main__"
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in _standard_library())


def module_of(train: Callable[..., Any]) -> str:
    """Return the name of the module that an objective is written in."""
    target: Any = train
    while isinstance(target, functools.partial | WithParameters):
        target = target.func if isinstance(target, functools.partial) else target.function
    name = getattr(target, "__module__", None)
    return str(name or type(target).__module__)


@contextmanager
def by_value(module: str) -> Iterator[None]:
    """Pickle what the modules beside and below this one define by value meanwhile.

    Those are the modules that were imported from the same folder, or from below it, and belong to
    no installed package.
    """
    import cloudpickle

    with _lock:
        before = set(cloudpickle.list_registry_pickle_by_value())
        added = [found for found in _beside(module) if found.__name__ not in before]
        for found in added:
            cloudpickle.register_pickle_by_value(found)
        try:
            yield
        finally:
            for found in added:
                cloudpickle.unregister_pickle_by_value(found)


def _beside(module: str) -> list[ModuleType]:
    path = _path(sys.modules.get(module))
    if path is None:
        return []
    levels = module.count(".") + (path.name == "__init__.py")
    folder = path.parents[levels]
    return [
        found
        for name, found in list(sys.modules.items())
        if name == getattr(found, "__name__", None)
        and name != "__main__"
        and _is_below(folder, _path(found))
        and not is_installed(name)
    ]


def _is_below(folder: Path, path: Path | None) -> bool:
    return path is not None and path.is_relative_to(folder)


def _path(module: ModuleType | None) -> Path | None:
    """Return where a module lies: its file, or the folder of a package without one."""
    # Modules that are made up, such as torch.classes, may have anything there.
    folders = getattr(module, "__path__", None)
    folders = list(folders) if isinstance(folders, Iterable) else []
    places = [getattr(module, "__file__", None), *folders]
    return next((Path(place).absolute() for place in places if isinstance(place, str)), None)


@functools.cache
def _standard_library() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]) for name in ("stdlib", "platstdlib"))
