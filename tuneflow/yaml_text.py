"""YAML as people mean it: the core schema of YAML 1.2, and no key twice.

PyYAML reads YAML 1.1, in which ``1e-4`` is a string, ``no`` and ``off`` are booleans, ``1:30`` is
90 and ``2026-01-01`` is a date. In a search space each of them is a trap.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

_TAG = "tag:yaml.org,2002:"


def parse(text: str) -> Any:
    """Return what YAML text says. Raises yaml.YAMLError, also for a key that is there twice."""
    return yaml.load(text, _Loader)  # noqa: S506 - a safe loader that knows fewer types


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            if key.value in seen:
                problem = f"the key '{key.value}' is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def _resolve(tag: str, form: str) -> None:
    """Give plain scalars of this form a tag; all others are strings."""
    _Loader.add_implicit_resolver(f"{_TAG}{tag}", re.compile(rf"(?:{form})\Z"), None)


_resolve("null", r"~|null|Null|NULL|")
_resolve("bool", r"true|True|TRUE|false|False|FALSE")
_resolve("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_resolve("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_resolve("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_resolve("merge", "<<")


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Read a whole number; ``010`` is ten, as YAML 1.2 has it."""
    text = str(loader.construct_scalar(node))
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.add_constructor(f"{_TAG}int", _int)
