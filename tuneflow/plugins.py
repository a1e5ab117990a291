"""Searchers, schedulers, executors and trackers by name.

Each is registered by an entry point, ours as well as anybody else's, in the group
``tuneflow.searchers``, ``tuneflow.schedulers``, ``tuneflow.executors`` or ``tuneflow.trackers``.
The name of the entry point is the ``type`` in a study file; the target is a dataclass, whose
fields are the other keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias, get_type_hints

import pydantic

from tuneflow.errors import MissingDependencyError, SpecError, did_you_mean

Kind: TypeAlias = Literal["searcher", "scheduler", "executor", "tracker"]


def known(kind: Kind) -> dict[str, EntryPoint]:
    """Return the entry points of a kind by name."""
    return {point.name: point for point in entry_points(group=f"tuneflow.{kind}s")}


def load(kind: Kind, name: str) -> type[Any]:
    """Return the class of this name.

    Raises:
        SpecError: there is none of this name, or the package that registers it is broken.
        MissingDependencyError: it needs a package that is not installed.
    """
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

    Args:
        cls: a dataclass.
        fields: its fields, as JSON or YAML has them.
        where: the dotted path of the object, for errors.
    """
    allowed = [field.name for field in dataclasses.fields(cls) if field.init]
    for name in fields:
        if name not in allowed:
            raise SpecError(f"{where}.{name}", "unknown key", did_you_mean(str(name), allowed))
    try:
        return cls(**_checked(cls, fields))
    except pydantic.ValidationError as error:
        raise _first_problem(error, fields, where) from None
    except SpecError as error:
        raise (error if error.field.startswith(where) else error.under(where)) from None


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
    hints = get_type_hints(cls)
    given = {
        field.name: (hints[field.name], ... if _is_needed(field) else None)
        for field in dataclasses.fields(cls)
        if field.init
    }
    config = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)
    make_model: Any = pydantic.create_model
    model: type[pydantic.BaseModel] = make_model(cls.__name__, __config__=config, **given)
    return model


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
