"""How a study's code gets to a worker: by name, as the text of a file, or pickled."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from tuneflow.errors import ObjectiveError
from tuneflow.objective import Objective
from tuneflow.objective.importing import import_text, split_reference
from tuneflow.objective.pickling import from_bytes, to_bytes
from tuneflow.objective.reference import (
    describe,
    load,
    load_objective,
    python_objective,
)
from tuneflow.remote.by_value import by_value, is_installed, module_of

Train: TypeAlias = Callable[..., Any] | str | Mapping[str, Any]
"""An objective: a function or class, an import path, or ``{"command": […]}``."""

_LIMIT = 1_000_000
"""Bytes that may travel with each order, and that a database may keep for a while."""

_KEPT = 16
"""How many objectives a process keeps loaded."""


class MissingModuleError(ObjectiveError):
    """A worker lacks a module that an objective imports."""


@dataclass(frozen=True)
class Code:
    """An objective on its way to the workers, as JSON.

    Attributes:
        reference: the objective as a study's spec has it, but for a ``cwd`` that is absolute.
        source: the text of the file, when the reference is ``file.py:function``: workers need
            not have the file.
        pickled: base64 of what cloudpickle made of a function that workers cannot import. It
            travels from process to process, and is never stored with the study.
        uploads: digests of the packages that were uploaded for it: the same name in a newer
            package is another objective.
    """

    reference: Mapping[str, Any]
    source: str | None = None
    pickled: str | None = None
    uploads: tuple[str, ...] = ()

    @classmethod
    def of(cls, train: Train, base: Path) -> Self:
        """Return the code of an objective; a function is pickled, a reference is not imported.

        A function of an installed package travels by its name. Any other is pickled together
        with what it uses of the modules that lie beside its own, or below.

        Args:
            train: the objective.
            base: the folder that ``file.py:function`` starts from.

        Raises:
            SpecError: a reference has not the right form.
            ObjectiveError: there is no such file, the function cannot be pickled, or it is too
                large to travel with an order.
        """
        reference = reference_of(train)
        if callable(train):
            if "function" in reference and is_installed(module_of(train)):
                return cls(reference)
            return cls(reference, pickled=_pickled(train))
        if "callable" in reference:
            raise ObjectiveError(
                f"the objective {reference['callable']!r} is an object that cannot be imported; "
                "give the object itself"
            )
        folder = base.joinpath(reference.get("cwd") or "").absolute()
        if "command" in reference:
            return cls({**reference, "cwd": str(folder)} if reference.get("cwd") else reference)
        return cls({**reference, "cwd": str(folder)}, source=_source(reference, folder))

    def load(self) -> Objective:
        """Return the objective, in the worker; loaded once in each process.

        Raises ObjectiveError, in one sentence: it cannot be imported here.
        """
        text = json.dumps(self.to_json(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        with _lock:
            objective = _loaded.pop(digest, None) or self._load()
            _loaded[digest] = objective
            while len(_loaded) > _KEPT:
                _loaded.popitem(last=False)
        return objective

    def _load(self) -> Objective:
        if self.pickled is not None:
            return load_objective(from_bytes(base64.b64decode(self.pickled)))
        if self.source is None:
            return load(self.reference)
        folder = Path(self.reference.get("cwd") or "")
        function = import_text(self.source, self.reference["function"], folder)
        return python_objective(self.reference, function)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "reference": dict(self.reference),
            "source": self.source,
            "pickled": self.pickled,
            "uploads": list(self.uploads),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**{**data, "uploads": tuple(data.get("uploads", ()))})


_loaded: OrderedDict[str, Objective] = OrderedDict()
_lock = threading.RLock()


def reference_of(train: Train) -> dict[str, Any]:
    """Return the objective as a study's spec has it; nothing is imported or pickled.

    A function has a name there only if another process would find it by that name.

    Raises SpecError: a reference has not the right form.
    """
    if not isinstance(train, str | Mapping) and not callable(train):
        raise ObjectiveError(f"the objective is {train!r}; give a function, a class or a reference")
    reference = describe(train)
    if callable(train) and "function" in reference and not _is_findable(module_of(train)):
        return {"callable": getattr(train, "__name__", type(train).__name__)}
    return reference


def _is_findable(module: str) -> bool:
    """Return whether a module can be imported, and not only by the process that made it up."""
    name = module.partition(".")[0]
    return any(finder.find_spec(name, None) for finder in sys.meta_path)


def _pickled(train: Callable[..., Any]) -> str:
    with by_value(module_of(train)):
        data = to_bytes(train)
    _check_size(len(data))
    return base64.b64encode(data).decode()


def _source(reference: Mapping[str, Any], folder: Path) -> str | None:
    place, _ = split_reference(reference["function"])
    if not place.endswith(".py"):
        return None
    path = folder / place
    try:
        text = importlib.util.decode_source(path.read_bytes())
        compile(text, place, "exec", dont_inherit=True)
    except FileNotFoundError:
        raise ObjectiveError(f"the objective's file {path} does not exist") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ObjectiveError(f"the objective's file {path} cannot be read: {error}") from error
    _check_size(len(text.encode()))
    return text


def _check_size(size: int) -> None:
    if size > _LIMIT:
        raise ObjectiveError(
            f"the objective and what it holds take {size / 1e6:.1f} MB, and at most 1 MB can "
            "travel with each trial; load large data inside the function, from where workers "
            "can read it"
        )
