"""Study files: YAML with the keys of a study, three that say where it runs, and ``retune``.

``storage``, ``executor`` and ``trackers`` are no part of what a study is: the same study may be
gone on with elsewhere. Nor is ``retune``, which says how it is tuned again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuneflow import yaml_text
from tuneflow.errors import SpecError
from tuneflow.spec import STUDY_KEYS, check_keys, study_from_json
from tuneflow.study import Study
from tuneflow.trackers.attached import described

PLACE_KEYS = ("storage", "executor", "trackers", "retune")


@dataclass(frozen=True)
class StudyFile:
    """What a study file says.

    Attributes:
        study: the study.
        storage: where it is kept, or None when the file does not say.
        executor: where its trials run, as `tuneflow.plugins.make` takes it. Default "inline".
        trackers: what follows it, likewise. Default none.
        folder: the folder of the file, where the relative paths in it start.
        retune: how it is tuned again; the options of `tuneflow.retune.plan.Plan`.
    """

    study: Study
    storage: str | None
    executor: Mapping[str, Any]
    trackers: tuple[Mapping[str, Any], ...]
    folder: Path
    retune: Mapping[str, Any] = field(default_factory=dict)


def load_study_file(
    path: Path, settings: Iterable[str] = (), executor: str | None = None
) -> StudyFile:
    """Read a study file.

    Args:
        path: the file.
        settings: what to change in it, each as ``scheduler.max_resource=27``; the value is YAML.
        executor: type of the executor to use, with the file's settings if it is the file's type.

    Raises:
        SpecError: names the field, the value and the fix.
    """
    data = _read(path)
    choose_executor(data, executor)
    for setting in settings:
        assign(data, setting)
    check_keys(data, (*STUDY_KEYS, *PLACE_KEYS))
    folder = path.resolve().parent
    data.setdefault("name", folder.name if path.stem == "study" else path.stem)
    study = study_from_json({key: data[key] for key in STUDY_KEYS if key in data})
    storage = _storage(data.get("storage"), folder)
    trackers = described(data.get("trackers") or ())
    again = data.get("retune") or {}
    if not isinstance(again, Mapping):
        raise SpecError("retune", f"{again!r} is not a mapping of options", "write seeds: 5, …")
    return StudyFile(study, storage, executor_of(data), trackers, folder, again)


def choose_executor(data: dict[str, Any], name: str | None) -> None:
    """Make ``data["executor"]`` one of this type; it keeps its settings if it is one already."""
    given = data.get("executor")
    kind = given.get("type") if isinstance(given, Mapping) else given
    if name is not None and name != kind:
        data["executor"] = {"type": name}


def assign(data: dict[str, Any], setting: str) -> None:
    """Carry out one ``key=value`` on nested mappings; the key is dotted, the value is YAML.

    A searcher, scheduler or executor that is given by its name alone may be set fields of. Raises
    SpecError when the key leads through something that has no fields.
    """
    path, equals, text = setting.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise SpecError("--set", f"'{setting}' is not key=value", "write --set trials=50")
    target = data
    for depth, name in enumerate(names[:-1], start=1):
        target = _inner(target, name, ".".join(names[:depth]))
    target[names[-1]] = _value(path, text)


def _inner(data: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    inner = data.get(name)
    if isinstance(inner, str) and path in ("searcher", "scheduler", "executor"):
        inner = {"type": inner}
    elif inner is None:
        inner = {}
    if not isinstance(inner, dict):
        raise SpecError(path, f"{inner!r} has no fields to set")
    data[name] = inner
    return inner


def _value(path: str, text: str) -> Any:
    try:
        value = yaml_text.parse(text)
    except yaml.YAMLError as error:
        raise SpecError(path, f"'{text}' is not YAML: {_one_line(error)}") from error
    _check_json(value, path)
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml_text.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError("", f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError("", f"{path} is not YAML: {_one_line(error)}") from error
    if not isinstance(data, dict):
        raise SpecError("", f"{path} is not a mapping of keys to values", "begin with name: …")
    _check_json(data, "")
    return data


def _one_line(error: Exception) -> str:
    """Say what is wrong with YAML and where, without the excerpt."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"{problem}, line {mark.line + 1}, column {mark.column + 1}" if mark else problem


def _check_json(value: Any, path: str) -> None:
    """Raise SpecError for what JSON does not have: keys that are no strings, NaN, dates."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise SpecError(path, f"the key {key!r} is not a string", "write it in quotes")
            _check_json(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_json(item, f"{path}[{position}]")
    elif not (value is None or isinstance(value, str | int) or _is_finite(value)):
        raise SpecError(path, f"{value!r} cannot be written as JSON", "write it in quotes")


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _storage(given: Any, folder: Path) -> str | None:
    """Return the storage; a relative path starts at the file's folder."""
    if given is None or (isinstance(given, str) and ":/" in given):
        return given
    if not isinstance(given, str) or not given:
        raise SpecError("storage", f"{given!r} is not a URL or path", "write for example ./results")
    return str(folder / Path(given).expanduser())


def executor_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``data["executor"]`` as a mapping; inline when there is none."""
    given = data.get("executor") or "inline"
    if isinstance(given, str):
        return {"type": given}
    if not isinstance(given, Mapping):
        raise SpecError("executor", f"{given!r} is no executor", "write {type: dask, workers: 2}")
    return given
