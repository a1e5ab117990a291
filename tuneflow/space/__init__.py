"""The search space: domains, conditions, validation and JSON.

Write ``Space({"lr": Float(1e-4, 1e-1, log=True), "layers": Int(1, 8)})``, or use the names of
Ray Tune: ``{"lr": loguniform(1e-4, 1e-1), "layers": randint(1, 9)}``.
"""

from __future__ import annotations

from tuneflow.space.domains import Categorical, Constant, Derived, Domain, Grid
from tuneflow.space.makers import (
    branch,
    choice,
    grid_search,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from tuneflow.space.numeric import Float, Int, Normal
from tuneflow.space.space import Space
from tuneflow.space.tree import Branch, Group
from tuneflow.space.values import Json
from tuneflow.space.walk import Choose

__all__ = [
    "Space",
    "Group",
    "Domain",
    "Float",
    "Int",
    "Categorical",
    "Constant",
    "Grid",
    "Normal",
    "Derived",
    "Branch",
    "uniform",
    "quniform",
    "loguniform",
    "qloguniform",
    "randn",
    "qrandn",
    "randint",
    "qrandint",
    "lograndint",
    "qlograndint",
    "choice",
    "sample_from",
    "grid_search",
    "branch",
    "Json",
    "Choose",
]
