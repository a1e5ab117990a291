"""Searchers, schedulers, stoppers, executors and trackers by name.

Each is registered by an entry point, ours as well as anybody else's, in the group
``tuneflow.searchers``, ``tuneflow.schedulers``, ``tuneflow.stoppers``, ``tuneflow.executors`` or
``tuneflow.trackers``. The name of the entry point is the ``type`` in a study file; the target is a
dataclass, whose fields are the other keys.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import pydantic

from tuneflow.errors import MissingDependencyError, SpecError, did_you_mean
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.stoppers.base import Stopper

Kind: TypeAlias = Literal["searcher", "scheduler", "stopper", "executor", "tracker"]

_NESTED: dict[Any, Kind] = {Searcher: "searcher", Scheduler: "scheduler", Stopper: "stopper"}
"""Fields of these types hold another plugin; those that are tuples of them, several."""


def known(kind: Kind) -> dict[str, EntryPoint]:
    """Return the entry points of a kind by name."""
    return dict(_points(kind, tuple(sys.path)))


@functools.lru_cache(maxsize=16)
def _points(kind: Kind, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Return the entry points of a kind on a path: all that is installed there is looked at."""
    return {point.name: point for point in entry_points(group=f"tuneflow.{kind}s")}


def load(kind: Kind, name: str) -> type[Any]:
    """Return the class of this name.

    Raises:
        SpecError: there is none of this name, or the package that registers it is broken.
        MissingDependencyError: it needs a package that is not installed.
    """
    points = known(kind)
    if name not in points:
        # It may have been installed a moment ago, from a notebook.
        _points.cache_clear()
        points = known(kind)
    if name not in points:
        raise SpecError(f"{kind}.type", f"there is no {kind} '{name}'", did_you_mean(name, points))
    try:
        loaded: type[Any] = points[name].load()
    except MissingDependencyError:
        raise
    except (ImportError, AttributeError) as error:
        problem = f"the {kind} '{name}' cannot be loaded from {points[name].value}: {error}"
        raise SpecError(f"{kind}.type", problem) from error
    return loaded


def make(kind: Kind, data: Any) -> Any:
    """Return the instance that ``{"type": name, **fields}``, or just the name, describes.

    Raises SpecError that names the field, for an unknown type, an unknown field or a value of
    the wrong type.
    """
    if isinstance(data, str):
        data = {"type": data}
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        raise SpecError(kind, f"{data!r} does not say which {kind}", "write {type: …}")
    fields = {key: value for key, value in data.items() if key != "type"}
    return build(load(kind, data["type"]), fields, kind)


def build(cls: type[Any], fields: Mapping[str, Any], where: str) -> Any:
    """Return ``cls(**fields)``, each field checked against its type.

    A field that is annotated `Searcher`, `Scheduler` or `Stopper` takes an instance, or what `make`
    takes; a tuple of them takes a list of these.

    Args:
        cls: a dataclass.
        fields: its fields, as JSON or YAML has them.
        where: the dotted path of the object, for errors.
    """
    allowed = [field.name for field in dataclasses.fields(cls) if field.init]
    for name in fields:
        if name not in allowed:
            raise SpecError(f"{where}.{name}", "unknown key", did_you_mean(str(name), allowed))
    nested = _nested(cls, fields, where)
    try:
        return cls(**{**_checked(cls, {**fields, **dict.fromkeys(nested)}), **nested})
    except pydantic.ValidationError as error:
        raise _first_problem(error, fields, where) from None
    except SpecError as error:
        raise (error if error.field.startswith(where) else error.under(where)) from None


def _nested(cls: type[Any], fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the plugins among the fields, as instances."""
    found: dict[str, Any] = {}
    for name, hint in _hints(cls).items():
        base = _inner_type(hint)
        if base is not None and name in fields:
            make_field = _inner if hint is base else make_all
            found[name] = make_field(base, fields[name], f"{where}.{name}")
    return found


def _inner_type(hint: Any) -> Any:
    """Return the base class of the plugins that a field holds, one or a tuple; None if none."""
    item = get_args(hint)[0] if get_origin(hint) is tuple else hint
    return item if item in _NESTED else None


def make_all(base: type[Any], given: Any, where: str) -> tuple[Any, ...]:
    """Return the plugins of a list; one alone need not stand in a list.

    Args:
        base: their base class, such as `Stopper`.
        given: instances, or what `make` takes.
        where: the dotted path of the list, for errors.
    """
    if not isinstance(given, list | tuple):
        return (_inner(base, given, where),)
    return tuple(_inner(base, one, f"{where}[{k}]") for k, one in enumerate(given))


def _inner(base: type[Any], given: Any, where: str) -> Any:
    if isinstance(given, base):
        return given
    kind = _NESTED[base]
    try:
        return make(kind, given)
    except SpecError as error:
        field = where + error.field.removeprefix(kind)
        raise SpecError(field, error.problem, error.fix) from None


def _hints(cls: type[Any]) -> dict[str, Any]:
    """Return the annotations of what may be given to a dataclass."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _checked(cls: type[Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as their types want them, lists as tuples for example."""
    try:
        text = json.dumps(dict(fields))
    except (TypeError, ValueError) as error:
        raise SpecError("", f"{dict(fields)!r} cannot be written as JSON: {error}") from error
    # As JSON, for which strict mode takes a list for a tuple, but not "3" for 3.
    model = _MODELS.get(cls) or _MODELS.setdefault(cls, _model_of(cls))
    checked = model.model_validate_json(text)
    values = ((name, getattr(checked, name)) for name in fields)
    # A whole number stays one where a float is wanted, as it does in Python.
    return {name: fields[name] if fields[name] == value else value for name, value in values}


def _model_of(cls: type[Any]) -> type[pydantic.BaseModel]:
    """Return a model of what may be given to a dataclass, from its annotations."""
    hints = _hints(cls)
    given = {
        field.name: (_checkable(hints[field.name]), ... if _is_needed(field) else None)
        for field in dataclasses.fields(cls)
        if field.init
    }
    config = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)
    make_model: Any = pydantic.create_model
    model: type[pydantic.BaseModel] = make_model(cls.__name__, __config__=config, **given)
    return model


def _checkable(hint: Any) -> Any:
    """Return what pydantic is to check; other plugins are made and checked by themselves."""
    return hint if _inner_type(hint) is None else Any


_MODELS: dict[type[Any], type[pydantic.BaseModel]] = {}


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _first_problem(
    error: pydantic.ValidationError, fields: Mapping[str, Any], where: str
) -> SpecError:
    problem = error.errors()[0]
    place = problem["loc"]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, SpecError):
        return cause if cause.field.startswith(where) else cause.under(where)
    if problem["type"] == "missing":
        return SpecError(f"{_path(place[:-1], fields, where)}.{place[-1]}", "is needed and missing")
    text = f"{problem['input']!r} does not fit: {problem['msg'].lower()}"
    return SpecError(_path(place, fields, where), text)


def _path(place: tuple[int | str, ...], data: Any, where: str) -> str:
    """Return the dotted path of a problem; pydantic's also names the types it has tried."""
    for part in place:
        is_inside = part in data if isinstance(data, Mapping) else isinstance(data, list)
        if is_inside and isinstance(part, int | str):
            data = data[part] if isinstance(part, int) or isinstance(data, Mapping) else None
            where = f"{where}.{part}"
    return where
