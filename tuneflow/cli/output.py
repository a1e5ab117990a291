"""Where the command writes: results to stdout, everything about progress to stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDE = 200
"""Columns where nobody looks at a terminal: a file or a pipe need not be cut."""


def print_json(document: Any) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(f"{json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)}\n")


def write(text: str) -> None:
    """Write text to stdout, and the end of a line."""
    sys.stdout.write(f"{text}\n")


def say(text: str) -> None:
    """Write one line to stderr, in which nothing steers a terminal."""
    spaced = " ".join(text.split())
    sys.stderr.write("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in spaced) + "\n")


def show(*parts: RenderableType | None) -> None:
    """Write renderables to stdout, as wide as the terminal is."""
    out = console()
    for part in parts:
        if part is not None:
            out.print(part)


@contextmanager
def without_logs() -> Iterator[None]:
    """Keep what libraries log off the terminal meanwhile: the command says itself what matters."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDE)
