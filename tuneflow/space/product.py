"""The cartesian product of a space's values, numbered.

The last parameter varies fastest, as the digits of a number do. The options of a branch follow
one another, each with the product of its own parameters.
"""

from __future__ import annotations

import math

from tuneflow.errors import SpecError
from tuneflow.space.domains import Derived, Domain
from tuneflow.space.tree import Branch, Group, Node
from tuneflow.space.values import Json


def size(group: Group, prefix: str = "") -> int:
    """Return how many combinations there are.

    Raises:
        SpecError: the values of a domain cannot be counted; names its path.
    """
    return math.prod(_node_size(node, prefix + name) for name, node in group.nodes.items())


def choices(group: Group, index: int, prefix: str = "") -> dict[str, Json]:
    """Return combination ``index`` as a value for each path."""
    found: dict[str, Json] = {}
    for name in reversed(tuple(group.nodes)):
        node, path = group.nodes[name], prefix + name
        index, digit = divmod(index, _node_size(node, path))
        found |= _node_choices(node, digit, path)
    return found


def _node_size(node: Node, path: str) -> int:
    if isinstance(node, Group):
        return size(node, f"{path}.")
    if isinstance(node, Branch):
        return sum(size(group, f"{path}.{name}.") for name, group in node.groups.items())
    return 1 if isinstance(node, Derived) else _countable(node, path)


def _countable(domain: Domain, path: str) -> int:
    if domain.size is None:
        problem = f"{domain.describe()} has too many values for a grid"
        raise SpecError(path, problem, "give it a step, or list its values with grid_search")
    return domain.size


def _node_choices(node: Node, index: int, path: str) -> dict[str, Json]:
    if isinstance(node, Group):
        return choices(node, index, f"{path}.")
    if isinstance(node, Branch):
        return _branch_choices(node, index, path)
    return {} if isinstance(node, Derived) else {path: node.at(index)}


def _branch_choices(branch: Branch, index: int, path: str) -> dict[str, Json]:
    for name, group in branch.groups.items():
        count = size(group, f"{path}.{name}.")
        if index < count:
            return {path: name} | choices(group, index, f"{path}.{name}.")
        index -= count
    raise IndexError(f"{path}: the branch has fewer combinations")
