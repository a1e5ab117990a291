"""From choices to a configuration, and back.

A choice is a value for the path of a free domain: ``opt.momentum``, or ``model.svm.C`` for a
parameter of the option ``svm`` of the branch ``model``, whose own choice is the option's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tuneflow.errors import SpecError, did_you_mean
from tuneflow.space.domains import Constant, Derived, Domain
from tuneflow.space.tree import Branch, Group
from tuneflow.space.values import Json, copied, shortened

Choose: TypeAlias = Callable[[str, Domain], Json]
"""Returns the value for a path, given its domain; for a branch, the name of an option."""


def is_free(domain: Domain) -> bool:
    """Whether a value of this domain is chosen, and neither fixed nor computed."""
    return not isinstance(domain, Constant | Derived)


def build(group: Group, choose: Choose, computed: Mapping[str, Json]) -> dict[str, Any]:
    """Return the configuration that ``choose`` makes, in which derived values come last.

    Args:
        group: the space.
        choose: is asked for each free domain, in the order of definition.
        computed: the derived values that are known already, by path.
    """
    builder = _Builder(choose)
    config = builder.fill(group, "")
    for path, target, name, domain in builder.derived:
        target[name] = computed[path] if path in computed else _compute(path, domain, config)
    return config


@dataclass(slots=True)
class _Builder:
    choose: Choose
    derived: list[tuple[str, dict[str, Any], str, Derived]] = field(default_factory=list)

    def fill(self, group: Group, prefix: str) -> dict[str, Any]:
        return self.fill_into({}, group, prefix)

    def fill_into(self, target: dict[str, Any], group: Group, prefix: str) -> dict[str, Any]:
        for name, node in group.nodes.items():
            path = prefix + name
            if isinstance(node, Group):
                target[name] = self.fill(node, f"{path}.")
            elif isinstance(node, Branch):
                target[name] = self._branch(node, path)
            elif isinstance(node, Constant):
                target[name] = copied(node.value)
            elif isinstance(node, Derived):
                self.derived.append((path, target, name, node))
            else:
                target[name] = self.choose(path, node)
        return target

    def _branch(self, branch: Branch, path: str) -> dict[str, Any]:
        option = self.choose(path, branch)
        group = branch.groups.get(option) if isinstance(option, str) else None
        if group is None:
            raise _outside(path, branch, option)
        return self.fill_into({branch.key: option}, group, f"{path}.{option}.")


def _compute(path: str, domain: Derived, config: dict[str, Any]) -> Json:
    try:
        return domain.compute(config)
    except SpecError as error:
        raise error.under(path) from error.__cause__


def flatten(group: Group, config: Any, *, partial: bool = False) -> dict[str, Json]:
    """Return the value for each path in a configuration, derived values too.

    Args:
        group: the space.
        config: the configuration.
        partial: parameters may be missing.

    Raises:
        SpecError: the configuration lies outside the space; names the path.
    """
    return dict(_flat(group, config, "", partial))


def _flat(group: Group, config: Any, prefix: str, partial: bool) -> Iterator[tuple[str, Json]]:
    _check_names(group, config, prefix)
    for name, node in group.nodes.items():
        path = prefix + name
        if name not in config:
            if not partial:
                raise SpecError(path, "is missing")
        elif isinstance(node, Group):
            yield from _flat(node, config[name], f"{path}.", partial)
        elif isinstance(node, Branch):
            yield from _flat_branch(node, config[name], path, partial)
        elif not node.contains(config[name]):
            raise _outside(path, node, config[name])
        elif not isinstance(node, Constant):
            yield path, copied(config[name])


def _check_names(group: Group, config: Any, prefix: str) -> None:
    if not isinstance(config, Mapping):
        problem = f"{shortened(config)} is not a mapping of names to values"
        raise SpecError(prefix.rstrip("."), problem)
    for name in config:
        if name not in group.nodes:
            problem = "the space has no such parameter"
            raise SpecError(f"{prefix}{name}", problem, did_you_mean(str(name), group.nodes))


def _flat_branch(
    branch: Branch, config: Any, path: str, partial: bool
) -> Iterator[tuple[str, Json]]:
    if not isinstance(config, Mapping) or branch.key not in config:
        problem = f"{shortened(config)} does not say which option it is"
        example = f"{{'{branch.key}': {branch.listed[0]!r}, …}}"
        raise SpecError(path, problem, f"write a mapping such as {example}")
    option = config[branch.key]
    if not branch.contains(option):
        raise _outside(f"{path}.{branch.key}", branch, option)
    yield path, option
    rest = {name: value for name, value in config.items() if name != branch.key}
    yield from _flat(branch.groups[option], rest, f"{path}.{option}.", partial)


def _outside(path: str, domain: Domain, value: Any) -> SpecError:
    return SpecError(path, f"{shortened(value)} is outside", f"allowed is {domain.describe()}")
