"""Searchers whose libraries are isolated: one with nothing to install, and one in earnest."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tuneflow.environments.cache import CACHE
from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher
from tuneflow.space import Categorical, Float

HERE = Environment(python=sys.executable)
"""The environment that this runs in, used as it is."""

ROUNDS = {
    "space": {"rate": Float(0.1, 0.9), "kind": Categorical(("a", "b"))},
    "metric": "loss",
    "mode": "min",
    "searcher": {"type": "dragonfly", "fit": "ml", "bandit": {"init_capital": 2}},
    "trials": 9,
    "round_size": 3,
}
"""Arguments of `tuneflow.tune` for a study in rounds; the first one is that of the first points."""


def shared_cache():
    """Return where all tests on this machine keep environments, unless told otherwise."""
    return os.environ.get(CACHE) or str(Path(tempfile.gettempdir(), "tuneflow-tests-cache"))


@dataclass(frozen=True, kw_only=True)
class Odd(LibrarySearcher):
    """Asks `tests.odd_library`; see there."""

    type: ClassVar[str] = "odd"
    library: ClassVar[str] = "tests.odd_library"
    package: ClassVar[str] = "odd"
    conditional: ClassVar[bool] = True

    environment: Environment | None = HERE
    mishap: str | None = None
    at: int = 0
    once: str | None = None
