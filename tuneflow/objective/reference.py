"""How a study names its objective: JSON that any process can load it from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from tuneflow.errors import ObjectiveError, SpecError, did_you_mean
from tuneflow.objective.command import check_timeout, command_from, validate_command
from tuneflow.objective.importing import import_function, is_importable, origin
from tuneflow.objective.parameters import WithParameters
from tuneflow.objective.python import PythonObjective
from tuneflow.objective.stream import Objective
from tuneflow.redaction import is_secret_name

Reference: TypeAlias = "str | Mapping[str, Any]"
"""``file.py:function``, ``module:function``, or a mapping with ``function`` or ``command``."""

_FUNCTION_KEYS = ("function", "env", "cwd", "timeout")
_FORMS = ("function", "command")


def load_objective(
    train: Callable[..., Any] | Reference | Objective, base: Path | None = None
) -> Objective:
    """Return an objective from whatever names it, or is it. Errors are those of `load`."""
    if isinstance(train, str | Mapping):
        return load(train, base)
    if callable(train):
        return PythonObjective(train)
    if callable(getattr(train, "open", None)):
        return train
    raise ObjectiveError(f"the objective is {train!r}; give a function, a class or a reference")


def load(reference: Reference, base: Path | None = None) -> Objective:
    """Return the objective that a reference names.

    Args:
        reference: ``file.py:function``, ``module:function``, ``{"function": …}`` with ``env``,
            ``cwd`` and ``timeout`` as one likes, or ``{"command": […]}`` likewise.
        base: the folder that relative paths start from. Default: ``cwd`` of the reference, or
            the current folder.

    Raises:
        SpecError: the reference has not the right form.
        ObjectiveError: there is nothing there, or it cannot be imported.
    """
    spec = check_reference(reference)
    if "callable" in spec:
        raise ObjectiveError(
            f"the objective {spec['callable']!r} is an object that cannot be imported; pass it: "
            "tuneflow.resume(url, train)"
        )
    if "command" in spec:
        return command_from(spec, base)
    folder = (base or Path()).joinpath(spec.get("cwd", ""))
    return python_objective(spec, import_function(spec["function"], folder))


def python_objective(spec: Mapping[str, Any], function: Callable[..., Any]) -> PythonObjective:
    """Return a function as an objective with the ``env`` and ``timeout`` of its reference."""
    env = {name: str(value) for name, value in (spec.get("env") or {}).items()}
    return PythonObjective(function, env, spec.get("timeout"))


def check_reference(
    reference: Reference, parameters: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return a reference as a mapping, once its form is right; nothing is imported.

    Args:
        reference: what a study file says.
        parameters: dotted paths of the space's parameters, to check a command's placeholders.

    Raises:
        SpecError: names the field, below the objective, the value and the fix.
    """
    if isinstance(reference, str):
        return {"function": reference}
    if not isinstance(reference, Mapping):
        raise SpecError("", f"{reference!r} is no objective", _FIX)
    if "command" in reference:
        validate_command(reference, parameters)
    elif "function" in reference:
        _check_function(reference)
    elif "callable" not in reference:
        given = next(iter(reference), "")
        raise SpecError("", f"{dict(reference)!r} is no objective", f"{_near(str(given))}{_FIX}")
    return dict(reference)


def refuse_secrets(reference: Mapping[str, Any]) -> None:
    """Raise SpecError for a secret among the ``env`` of a reference, which a study would store."""
    for name, value in (reference.get("env") or {}).items():
        text = str(value)
        if is_secret_name(str(name)) and text and not text.startswith(("/", "{")):
            raise SpecError(
                f"objective.env.{name}",
                "this looks like a secret, and a study is stored where many can read it",
                "set it where the trials run, whose environment they have, and leave it out here",
            )


_FIX = "write file.py:function, module:function, or {command: [program, arguments]}"


def _near(word: str) -> str:
    near = did_you_mean(word, _FORMS)
    return f"{near} Else " if near.startswith("did") else ""


def _check_function(reference: Mapping[str, Any]) -> None:
    for key, value in reference.items():
        if key not in _FUNCTION_KEYS:
            raise SpecError(str(key), "unknown key", did_you_mean(str(key), _FUNCTION_KEYS))
        if key in ("function", "cwd") and not isinstance(value, str):
            raise SpecError(key, f"{value!r} is not a string")
    if not isinstance(reference.get("env") or {}, Mapping):
        raise SpecError("env", f"{reference['env']!r} is not a mapping of names to values")
    check_timeout(reference.get("timeout"))


def describe(train: Callable[..., Any] | Reference | Objective) -> dict[str, Any]:
    """Return JSON that names an objective, as far as it has a name.

    A lambda, a closure, a function of a notebook or script, and data bound by `with_parameters`
    have none: such a study is resumed by passing the objective again.
    """
    if isinstance(train, str | Mapping):
        return check_reference(train)
    function = train.function if isinstance(train, PythonObjective) else train
    if not isinstance(function, WithParameters) and is_importable(function):
        return {"function": origin(function)}
    return {"callable": getattr(function, "__name__", None) or type(function).__name__}
