"""Markdown in which what users typed is text, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tuneflow.views import text

# What begins markup, ends a cell of a table, or makes a link of a bare address. An underscore
# inside of a word is left alone, as Markdown does; names are full of them.
_ACTIVE = re.compile(r"[&<>\\`*\[\]|~#]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.")
# What makes an item of a list, or a rule, where it comes first.
_LEADING = re.compile(r"^\d*([-+.)])(?!\d)")
_RUN = re.compile(r"`{3,}")


def escaped(words: str) -> str:
    """Return words as they are to be read, on one line, whatever they are made of.

    Prefect shows its descriptions, and the cells of its tables, as Markdown, too. Entities would be
    shown as they are written there, so this uses backslashes alone.
    """
    line = _ACTIVE.sub(r"\\\g<0>", text.clean(words))
    return _LEADING.sub(lambda found: f"{found[0][:-1]}\\{found[1]}", line)


def block(data: Any) -> str:
    """Return JSON data as a block of code, which nothing in the data can end."""
    code = json.dumps(data, indent=2, ensure_ascii=False)
    longest = max((len(run) for run in _RUN.findall(code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}json\n{code}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are escaped."""
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def link_target(url: str) -> str:
    """Return a URL so that it cannot end the link that it stands in."""
    return re.sub(r"[\s()<>\\\"'`]", lambda found: f"%{ord(found[0]):02X}", url)
