"""Placeholders in the arguments of a command: ``{lr}``, ``{opt.lr}``, ``{checkpoint_dir}``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from string import Formatter
from typing import Any

from tuneflow.errors import ObjectiveError, SpecError, did_you_mean

BUILT_IN = (
    "trial",
    "segment",
    "start",
    "until",
    "max_resource",
    "directory",
    "checkpoint_dir",
    "restore_dir",
    "config_file",
)
"""The placeholders beside the parameters; a parameter of the same name comes first."""


def check(text: str, parameters: Iterable[str], field: str) -> None:
    """Raise SpecError unless every placeholder is a parameter, a group of them, or built in.

    Args:
        text: the template.
        parameters: dotted paths of the parameters.
        field: where the template stands, for the message.
    """
    known = [*_with_groups(parameters), *BUILT_IN]
    try:
        names = [name for name, _ in _placeholders(text)]
    except ValueError as error:
        fix = "write {{ and }} for braces that are meant"
        raise SpecError(field, f"{text!r} is no template: {error}", fix) from None
    for name in names:
        if name not in known:
            fix = f"{did_you_mean(name, known)} Write {{{{ for a brace that is meant"
            raise SpecError(field, f"{{{name}}} is not a parameter", fix)


def render(text: str, values: Mapping[str, Any]) -> str:
    """Fill the placeholders in: strings as they are, other values as JSON, None as nothing.

    A format may follow the name, as in ``{lr:.3f}``. Raises ObjectiveError when this
    configuration lacks a parameter, or the format does not fit its value.
    """
    parts = []
    for literal, name, spec, _ in Formatter().parse(text):
        parts.append(literal)
        if name is not None:
            parts.append(_filled(name, spec or "", values))
    return "".join(parts)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every parameter and group of parameters by its dotted path."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat[f"{prefix}{name}"] = value
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
    return flat


def _placeholders(text: str) -> Iterator[tuple[str, str]]:
    for _, name, spec, _ in Formatter().parse(text):
        if name is not None:
            yield name, spec or ""


def _with_groups(parameters: Iterable[str]) -> Iterator[str]:
    """Yield each path and the paths of the groups it lies in."""
    for path in parameters:
        names = path.split(".")
        yield from (".".join(names[:length]) for length in range(1, len(names) + 1))


def _filled(name: str, spec: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        raise ObjectiveError(f"the command uses {{{name}}}, which this configuration has not")
    value = values[name]
    if spec:
        try:
            return format(value, spec)
        except (ValueError, TypeError) as error:
            raise ObjectiveError(f"{{{name}:{spec}}} does not fit {value!r}: {error}") from error
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
