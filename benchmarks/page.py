"""The page that the benchmarks write, one section each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def put(heading: str, section: str) -> None:
    """Write a section of docs/benchmarks.md; the others stay as they are."""
    DOCS.write_text(replaced(DOCS.read_text(), heading, section))


def replaced(page: str, heading: str, section: str) -> str:
    """Return the page with a section in place of the one with its heading, or at the end."""
    old = re.search(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    if old is None:
        return f"{page.rstrip()}\n\n{section}"
    rest = page[old.end() :]
    return f"{page[: old.start()]}{section.rstrip()}\n" + (f"\n{rest}" if rest else "")
