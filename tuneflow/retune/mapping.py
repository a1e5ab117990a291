"""From the space of a past study to today's: which of its configurations and results still fit.

Parameters are told apart by their paths (``opt.momentum``, ``model.svm.C``), so a parameter that
got another name is one that was dropped and one that is new. What becomes of the values of a
parameter that both spaces have is said in `tuneflow.retune.places`; the rest is:

* a **new** parameter has the default that the caller gives: what the training code used before it
  became a parameter. Without one a point leaves it out, so that the searcher draws it, and a
  result gets a value drawn from its prior, which tells a model nothing about it;
* a **dropped** one is left out, and the result counts as if it had not mattered;
* an **option** of a branch that is gone takes its parameters along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from tuneflow.errors import SpecError, did_you_mean
from tuneflow.retune.places import Kind, Place, change, is_fixed, place
from tuneflow.space import Branch, Choose, Domain, Group, Json, Space
from tuneflow.space.values import copied, shortened
from tuneflow.space.walk import flatten
from tuneflow.trial import Params


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one parameter.

    Attributes:
        path: its path.
        kind: "same", "new", "dropped", "widened", "narrowed" or "changed".
        rule: what is done about it, in words.
    """

    path: str
    kind: Kind
    rule: str

    def __str__(self) -> str:
        return f"{self.path} is {'the same' if self.kind == 'same' else self.kind}: {self.rule}"


@dataclass(frozen=True)
class SpaceMap:
    """Maps configurations of a past space to today's; see the module for the rules.

    Args:
        old: the space that they are from.
        new: today's space.
        defaults: what the training code used for a new parameter before it was one, by its path.
            One for a parameter that ``old`` has is not needed any more, and does no harm.

    Raises:
        SpecError: a default names no parameter of today's space, or lies outside its domain.
    """

    old: Space
    new: Space
    defaults: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_defaults(self.new, self.defaults)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What became of each parameter: those of today's space first, then the dropped ones."""
        gone = (path for path in self._then if path not in self._today)
        dropped = (Change(path, "dropped", "past values are left out") for path in gone)
        return (*map(self._change, self._today), *dropped)

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """The paths of the parameters that are searched in both spaces."""
        past = self.old.domains()
        return tuple(path for path in self.new.domains() if path in past)

    def point(self, config: Mapping[str, Any]) -> Params | None:
        """Return what is left of a past configuration, to be tried in today's space.

        Returns:
            A partial configuration, as ``points_to_evaluate`` takes it; or None when none of its
            values has a place.

        Raises:
            SpecError: the configuration is not one of the past space.
        """
        known = self._free(self._places(config))
        return partial(self.new, {**self._assumed, **known}) if partial(self.new, known) else None

    def result(self, config: Mapping[str, Any], choose: Choose) -> Params | None:
        """Return the configuration of today's space that a past observation stands for.

        Args:
            config: a configuration of the past space.
            choose: draws what is not known, as for `Space.build`.

        Returns:
            A complete configuration, as ``known_results`` takes it; or None when the observation
            lies outside of today's space, or none of its values has a place there.

        Raises:
            SpecError: the configuration is not one of the past space.
        """
        places = self._places(config)
        is_inside = all(at.is_inside for at in places.values())
        if not is_inside or not partial(self.new, self._free(places)):
            return None
        known = {path: at.value for path, at in places.items() if at.is_known}
        values = {**self._assumed, **known}
        return self.new.complete(
            partial(self.new, values),
            lambda path, domain: values[path] if path in values else choose(path, domain),
        )

    @cached_property
    def _then(self) -> dict[str, Domain]:
        return dict(self.old.leaves())

    @cached_property
    def _today(self) -> dict[str, Domain]:
        return dict(self.new.leaves())

    @cached_property
    def _assumed(self) -> dict[str, Json]:
        """What past configurations had of the parameters that are new."""
        return {path: value for path, value in self.defaults.items() if path not in self._then}

    def _places(self, config: Mapping[str, Any]) -> dict[str, Place]:
        """Return where each value of a past configuration goes, of those that both spaces have."""
        flatten(self.old, config)
        return {
            path: place(self._then[path], self._today[path], value)
            for path, value in _values(self.old, config, "")
            if path in self._today
        }

    def _free(self, places: Mapping[str, Place]) -> dict[str, Json]:
        """Return the values that are known of parameters that are searched today."""
        return {
            path: at.value
            for path, at in places.items()
            if at.is_known and not is_fixed(self._today[path])
        }

    def _change(self, path: str) -> Change:
        if path in self._then:
            return Change(path, *change(self._then[path], self._today[path]))
        if path in self._assumed:
            return Change(path, "new", f"past trials had {shortened(self._assumed[path])}")
        return Change(path, "new", _NEW[is_fixed(self._today[path])])


_NEW: Final = {
    True: "it is not searched",
    False: "points leave it out, and past results get a value drawn at random",
}


def check_defaults(space: Space, defaults: Mapping[str, Json]) -> None:
    """Raise SpecError for a default that names no parameter, or lies outside its domain."""
    free = space.domains()
    for path, value in defaults.items():
        if path not in free:
            problem = "the space has no such parameter"
            raise SpecError(f"defaults.{path}", problem, did_you_mean(path, free))
        if not free[path].contains(value):
            problem, fix = f"{shortened(value)} is outside", f"allowed is {free[path].describe()}"
            raise SpecError(f"defaults.{path}", problem, fix)


def require_shared(mapped: SpaceMap) -> None:
    """Raise SpecError when no parameter is searched in both spaces."""
    if not mapped.shared:
        today, past = (", ".join(space.domains()) or "none" for space in (mapped.new, mapped.old))
        problem = f"it shares no parameter with the past: it has {today}, and there was {past}"
        fix = "keep the names of parameters, or begin anew under another name"
        raise SpecError("space", problem, fix)


def partial(group: Group, values: Mapping[str, Json], prefix: str = "") -> Params:
    """Return the part of a configuration that values by path make; constants are left out.

    Where the option of a branch is not known, its parameters are left out too.
    """
    found = ((name, _part(node, values, prefix + name)) for name, node in group.nodes.items())
    return {name: parts[0] for name, parts in found if parts}


def _part(node: Domain | Group, values: Mapping[str, Json], path: str) -> tuple[Any, ...]:
    """Return the part of a configuration below a path; nothing when no value is known."""
    if isinstance(node, Group):
        inner = partial(node, values, f"{path}.")
        return (inner,) if inner else ()
    if path not in values:
        return ()
    value = values[path]
    if isinstance(node, Branch):
        return ({node.key: value, **partial(node.groups[str(value)], values, f"{path}.{value}.")},)
    return (copied(value),)


def _values(group: Group, config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Json]]:
    """Yield the value for each path in a configuration, those of constants too."""
    for name, node in group.nodes.items():
        path, value = prefix + name, config[name]
        if isinstance(node, Group):
            yield from _values(node, value, f"{path}.")
        elif isinstance(node, Branch):
            option = value[node.key]
            yield path, option
            yield from _values(node.groups[option], value, f"{path}.{option}.")
        else:
            yield path, value
