"""Search libraries, each behind the same few methods.

These modules run where their library is installed: in the driver's process, or in one of another
Python that has no tuneflow. So they import the standard library, their own library and each other,
and nothing else. `tuneflow.searchers.library` is the other side.
"""

from __future__ import annotations

import importlib
from typing import Any


def library(name: str) -> type[Any]:
    """Return the `Library` that a module defines as its ``LIBRARY``.

    Args:
        name: that of a module here, or the dotted one of a module of another package. That one
            may be loaded without its package, and so imports nothing of it.

    Raises:
        ImportError: the library that it adapts cannot be imported.
    """
    module = importlib.import_module(name if "." in name else f"{__name__}.{name}")
    found: type[Any] = module.LIBRARY
    return found
