"""Searchers: what proposes the next configuration.

Each lives in a file of its own; the ones that need a library import it when they are first
asked. To add one, write a subclass of `Searcher` and register it by an entry point in the group
``tuneflow.searchers``; `tuneflow.testing.SearcherSuite` checks it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.searchers.ax import Ax
    from tuneflow.searchers.base import Searcher
    from tuneflow.searchers.bayesopt import BayesOpt
    from tuneflow.searchers.bohb import BOHB
    from tuneflow.searchers.dehb import DEHB
    from tuneflow.searchers.dragonfly import Dragonfly
    from tuneflow.searchers.flaml import CFO, BlendSearch
    from tuneflow.searchers.grid import Grid
    from tuneflow.searchers.hebo import HEBO
    from tuneflow.searchers.hpbandster import HpBandSter
    from tuneflow.searchers.hyperopt import HyperOpt
    from tuneflow.searchers.limit import ConcurrencyLimit
    from tuneflow.searchers.nevergrad import Nevergrad
    from tuneflow.searchers.optuna import TPE, Optuna
    from tuneflow.searchers.random import Random
    from tuneflow.searchers.repeat import Repeat
    from tuneflow.searchers.skopt import SkOpt
    from tuneflow.searchers.smac import SMAC
    from tuneflow.searchers.sobol import Sobol

__all__ = [
    "Searcher",
    "Random",
    "Grid",
    "Sobol",
    "TPE",
    "Optuna",
    "BOHB",
    "DEHB",
    "HpBandSter",
    "Dragonfly",
    "HEBO",
    "HyperOpt",
    "SkOpt",
    "BayesOpt",
    "Nevergrad",
    "CFO",
    "BlendSearch",
    "Ax",
    "SMAC",
    "Repeat",
    "ConcurrencyLimit",
]

_MODULES = {
    "Searcher": "base",
    "Random": "random",
    "Grid": "grid",
    "Sobol": "sobol",
    "TPE": "optuna",
    "Optuna": "optuna",
    "BOHB": "bohb",
    "DEHB": "dehb",
    "HpBandSter": "hpbandster",
    "Dragonfly": "dragonfly",
    "HEBO": "hebo",
    "HyperOpt": "hyperopt",
    "SkOpt": "skopt",
    "BayesOpt": "bayesopt",
    "Nevergrad": "nevergrad",
    "CFO": "flaml",
    "BlendSearch": "flaml",
    "Ax": "ax",
    "SMAC": "smac",
    "Repeat": "repeat",
    "ConcurrencyLimit": "limit",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
