"""The tree that a search space is: named domains, nested groups, and branches.

One rule reads JSON and Python alike: a mapping whose ``type`` is a string is a domain, any
other mapping is a nested group, and a bare list or scalar is a constant.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Final, TypeAlias

from tuneflow.errors import SpecError, did_you_mean
from tuneflow.jsonio import dumps
from tuneflow.space.domains import Categorical, Constant, Derived, Domain, Grid, Listed
from tuneflow.space.numeric import Float, Int, Normal
from tuneflow.space.values import Json, plain, shortened

Node: TypeAlias = "Domain | Group"
"""What a name in a space stands for."""

_NUMBERS: Final = frozenset({"low", "high", "step", "q", "mean", "sd"})

_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""What YAML 1.2 calls a number and PyYAML, which reads YAML 1.1, calls a string: 1e-4."""


class Group:
    """Named domains and nested groups, in the order they are defined. Immutable.

    Args:
        fields: names to domains, their JSON forms, mappings (nested groups), or constants.

    Raises:
        SpecError: a field is not valid; its path says which.
    """

    def __init__(self, fields: Mapping[str, Any] | Group) -> None:
        items = fields.nodes if isinstance(fields, Group) else fields
        _check_mapping(items)
        self._nodes: dict[str, Node] = {}
        for name, value in items.items():
            _check_name(name)
            self._nodes[name] = _parsed(name, value)
        self._refuse_collisions()

    @property
    def nodes(self) -> Mapping[str, Node]:
        """What each name stands for; not to be changed."""
        return self._nodes

    def leaves(self) -> Iterator[tuple[str, Domain]]:
        """Yield each domain with its path; a branch first, then what its options hold."""
        for name, node in self._nodes.items():
            if isinstance(node, Group):
                yield from _below(name, node)
                continue
            yield name, node
            if isinstance(node, Branch):
                for option, group in node.groups.items():
                    yield from _below(f"{name}.{option}", group)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form, from which the same group can be made."""
        return {name: _written(name, node) for name, node in self._nodes.items()}

    def _refuse_collisions(self) -> None:
        seen: set[str] = set()
        for path, _ in self.leaves():
            if path in seen:
                raise SpecError(path, "two parameters have this path", "rename one of them")
            seen.add(path)

    @property
    def _text(self) -> str:
        return dumps(self.to_json())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._nodes!r})"


@dataclass(frozen=True, eq=False)
class Branch(Listed):
    """A choice that opens a sub-space of its own.

    As a domain its values are the names of the options, each as likely as the others. In a
    configuration it is the parameters of the chosen option, and the option's name under
    ``key``: ``{"type": "svm", "C": 1.0}``.

    Args:
        options: names to sub-spaces (which may be empty); at least one.
        key: where the name of the chosen option is written. Default "type".
    """

    type: ClassVar[str] = "branch"

    options: Mapping[str, Any]
    key: str = "type"

    def __post_init__(self) -> None:
        _check_options(self.options, self.key)
        self._set("options", {name: self._option(name) for name in self.options})

    def _option(self, name: Any) -> Group:
        try:
            _check_name(name)
            group = Group(self.options[name])
        except SpecError as error:
            raise error.under(f"options.{name}") from None
        if self.key in group.nodes:
            problem = f"the name {self.key!r} is taken by the name of the option"
            raise SpecError(f"options.{name}.{self.key}", problem, "rename it, or give another key")
        return group

    @property
    def groups(self) -> Mapping[str, Group]:
        """The sub-space of each option."""
        return self.options

    @property
    def listed(self) -> tuple[Json, ...]:
        """The names of the options."""
        return tuple(self.options)

    def to_json(self) -> dict[str, Json]:
        """Return the JSON form."""
        options: dict[str, Json] = {name: group.to_json() for name, group in self.groups.items()}
        data: dict[str, Json] = {"type": self.type, "options": options}
        return data if self.key == "type" else data | {"key": self.key}


_TYPES: Final[Mapping[str, type[Domain]]] = {
    domain.type: domain
    for domain in (Float, Int, Categorical, Constant, Grid, Normal, Derived, Branch)
}


def _below(prefix: str, group: Group) -> Iterator[tuple[str, Domain]]:
    return ((f"{prefix}.{path}", node) for path, node in group.leaves())


def _check_mapping(fields: Any) -> None:
    if not isinstance(fields, Mapping):
        raise SpecError("", f"{shortened(fields)} is not a mapping of names to domains")
    if isinstance(fields.get("type"), str):
        problem = f"a domain of type {fields['type']!r} stands where names are expected"
        raise SpecError("", problem, "put it under a name, such as {lr: {type: float, …}}")


def _check_options(options: Any, key: Any) -> None:
    if not isinstance(key, str) or not key:
        raise SpecError("key", f"{key!r} is not a name")
    if not isinstance(options, Mapping) or not options:
        problem = f"{shortened(options)} is not a mapping of names to sub-spaces"
        raise SpecError("options", problem, "give at least one, such as {svm: {…}}")


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise SpecError("", f"the name {name!r} is not a string", "write it in quotes")
    if not name:
        raise SpecError("", "a name is empty")


def _parsed(name: str, value: Any) -> Node:
    try:
        return _node(value)
    except SpecError as error:
        raise error.under(name) from None


def _node(value: Any) -> Node:
    if isinstance(value, Domain):
        return value
    if isinstance(value, Group):
        return Group(value.nodes)
    if not isinstance(value, Mapping):
        return _constant(value)
    if isinstance(value.get("type"), str):
        return _domain(value)
    return Group(value)


def _constant(value: Any) -> Constant:
    try:
        return Constant(value)
    except SpecError as error:
        problem = f"{shortened(value)} is neither a domain, nor a mapping, nor a constant"
        fix = "use sample_from('module:function')" if callable(value) else error.fix
        raise SpecError("", problem, fix) from None


def _domain(data: Mapping[str, Any]) -> Domain:
    """Make a domain from its JSON form."""
    name = data["type"]
    kind = _TYPES.get(name)
    if kind is None:
        fix = f"{did_you_mean(name, _TYPES)} A plain value needs {{type: constant, value: {name}}}"
        raise SpecError("type", f"there is no domain of type {name!r}", fix)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in data:
        if key != "type" and key not in fields:
            problem = f"type {name} has no such field"
            raise SpecError(str(key), problem, did_you_mean(str(key), fields))
    for key, field in fields.items():
        if key not in data and field.default is dataclasses.MISSING:
            raise SpecError(key, "is missing", f"type {name} needs it")
    return kind(**{key: _number(kind, key, data[key]) for key in data if key != "type"})


def _number(kind: type[Domain], key: str, value: Any) -> Any:
    """Return ``value``, made a number where YAML 1.1 takes ``1e-4`` for a string."""
    if key not in _NUMBERS or not isinstance(value, str) or not _SCIENTIFIC.fullmatch(value):
        return value
    if kind is Int and Fraction(value).denominator == 1:
        return int(Fraction(value))
    return float(value)


def _written(name: str, node: Node) -> Json:
    """Return the JSON form of a node, the shortest that is read back as the same."""
    if not isinstance(node, Constant) or isinstance(node.value, dict):
        return dict(node.to_json())
    if name == "type" and isinstance(node.value, str):
        return node.to_json()
    return plain(name, node.value)
