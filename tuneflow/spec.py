"""From plain data to a `Study`, with every problem named; study.json is such data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tuneflow.budget import Budget, Plateau
from tuneflow.checkpointing import Checkpointing, Keep
from tuneflow.errors import SpecError, did_you_mean
from tuneflow.executors.placement import Request
from tuneflow.goals import make_objectives, parse_constraints
from tuneflow.objective.reference import check_reference
from tuneflow.plugins import build, make, make_all
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Branch, Group, Space
from tuneflow.stoppers.base import Stopper
from tuneflow.study import Study

STUDY_KEYS = (
    "name",
    "objective",
    "space",
    "metric",
    "mode",
    "searcher",
    "scheduler",
    "trials",
    "seed",
    "round_size",
    "max_concurrent",
    "budget",
    "resources",
    "constraints",
    "stop",
    "checkpoints",
)
_NEEDED = ("objective", "space", "metric", "mode")

StopLike: TypeAlias = Stopper | Mapping[str, Any] | str
"""A stopper: an instance, a type name or a mapping with a ``type``."""

ASK_TELL: Mapping[str, Any] = {"ask_tell": True}
"""The objective of a study that is driven by ask and tell."""


def check_keys(data: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    """Raise SpecError for a key that is not known, or a needed one that is not there."""
    for key in data:
        if key not in allowed:
            raise SpecError(str(key), "unknown key", did_you_mean(str(key), allowed))
    for key in _NEEDED:
        if data.get(key) is None:
            raise SpecError(key, "this key is needed and missing")


def plain_spec(
    *,
    objective: Mapping[str, Any],
    space: Space | Mapping[str, Any],
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    stop: StopLike | Sequence[StopLike] | None = None,
    checkpoints: Checkpointing | Mapping[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the arguments of `tuneflow.tune` as plain data, for `study_from_json`.

    Args:
        objective: JSON that names the objective.
        space: an instance or its JSON form.
        searcher: an instance, a type name or a mapping with a ``type``.
        scheduler: likewise.
        budget: an instance or its JSON form.
        stop: stoppers, or one alone, each as a searcher is given.
        checkpoints: an instance or its JSON form.
        others: the other keys of `tuneflow.study.Study`.

    Raises:
        SpecError: one of them is nothing of the kind.
    """
    return {
        **others,
        "objective": objective,
        "space": _space(space).to_json(),
        "searcher": _plugin("searcher", searcher),
        "scheduler": _plugin("scheduler", scheduler),
        "budget": budget.to_json() if isinstance(budget, Budget) else budget,
        "stop": [stopper.to_json() for stopper in _stop(stop)],
        "checkpoints": _plain_checkpoints(checkpoints),
    }


def _plugin(kind: str, given: Any) -> Any:
    """Return a searcher or scheduler as a study file has it."""
    if isinstance(given, Searcher | Scheduler):
        return given.to_json()
    if given is None or isinstance(given, str | Mapping):
        return given
    raise SpecError(kind, f"{given!r} is no {kind}", "give an instance, a type name or a mapping")


def _plain_checkpoints(given: Checkpointing | Mapping[str, Any] | None) -> Any:
    return given.to_json() if isinstance(given, Checkpointing) else given


def study_from_json(data: Mapping[str, Any]) -> Study:
    """Return the study that plain data describes.

    Args:
        data: the keys of `Study`. ``searcher`` and ``scheduler`` are type names or mappings with
            a ``type``; they may be left out, and then are "tpe" and "fifo".

    Raises:
        SpecError: names the field, the value and the fix.
    """
    check_keys(data, STUDY_KEYS)
    space = _space(data["space"])
    (metric, mode), *others = make_objectives(data["metric"], data["mode"])
    return Study(
        name=_text(data, "name"),
        space=space,
        metric=metric,
        mode=mode,
        searcher=make("searcher", data.get("searcher") or "tpe"),
        scheduler=make("scheduler", data.get("scheduler") or "fifo"),
        objective=_objective(data["objective"], space),
        trials=data.get("trials"),
        seed=_seed(data.get("seed")),
        round_size=data.get("round_size"),
        max_concurrent=data.get("max_concurrent"),
        budget=_budget(_mapping(data, "budget")),
        resources=_resources(_mapping(data, "resources")),
        other_metrics=dict(others),
        constraints=_constraints(data.get("constraints")),
        stop=_stop(data.get("stop")),
        checkpoints=_checkpoints(_mapping(data, "checkpoints")),
    )


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise SpecError(key, f"{value!r} is not a name", f"write a text, such as {key}: digits")
    return value


def _seed(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise SpecError("seed", f"{value!r} is not a whole number")
    return value


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, Mapping):
        raise SpecError(key, f"{value!r} is not a mapping of names to values")
    return value


def _space(data: Any) -> Space:
    try:
        return Space.from_json(data)
    except SpecError as error:
        raise error.under("space") from None


def _objective(data: Any, space: Space) -> Mapping[str, Any]:
    if data == ASK_TELL:
        return ASK_TELL
    try:
        return check_reference(data, _paths(space))
    except SpecError as error:
        raise error.under("objective") from None


def _budget(data: Mapping[str, Any]) -> Budget:
    plateau = data.get("plateau")
    if isinstance(plateau, Mapping):
        build(Plateau, plateau, "budget.plateau")
    budget: Budget = build(Budget, data, "budget")
    return budget


def _checkpoints(data: Mapping[str, Any]) -> Checkpointing:
    keep = data.get("keep")
    if isinstance(keep, Mapping):
        build(Keep, keep, "checkpoints.keep")
    made: Checkpointing = build(Checkpointing, data, "checkpoints")
    return made


def _resources(data: Mapping[str, Any]) -> Mapping[str, Any]:
    Request.parse(data)
    return data


def _constraints(data: Any) -> Sequence[str]:
    return tuple(map(str, parse_constraints(() if data is None else data)))


def _stop(data: Any) -> tuple[Stopper, ...]:
    return () if data is None else make_all(Stopper, data, "stop")


def _paths(group: Group, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of everything that a configuration may hold."""
    for name, node in group.nodes.items():
        path = f"{prefix}{name}"
        if isinstance(node, Group):
            yield from _paths(node, f"{path}.")
            continue
        yield path
        if isinstance(node, Branch):
            yield f"{path}.{node.key}"
            for option in node.groups.values():
                yield from _paths(option, f"{path}.")
