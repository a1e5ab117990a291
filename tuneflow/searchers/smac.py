"""Sequential model-based algorithm configuration by SMAC3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class SMAC(LibrarySearcher):
    """Asks SMAC3: a random forest and the logarithm of the expected improvement.

    Lindauer et al., "SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter
    Optimization", JMLR 2022, after Hutter, Hoos and Leyton-Brown, "Sequential Model-Based
    Optimization for General Algorithm Configuration", LION 2011. Branches are conditions of its
    own configuration space. A failed trial counts as the worst so far, a pending one as the mean.

    Args:
        n_initial: how many trials come from a Sobol sequence before the forest is asked. SMAC's
            own number is ten for each parameter and at most a quarter of all trials. Default 10.
        n_trees: how many trees there are. Default 10.
        challengers: how many random candidates there are. Default 10,000.
        local_searches: how many local searches begin, from the best of these and of the trials;
            they are what takes the time. Default 10.
        random_fraction: the share of random configurations after that. Default 0.2.
    """

    type: ClassVar[str] = "smac"
    library: ClassVar[str] = "smac"
    package: ClassVar[str] = "smac"
    extra: ClassVar[str] = "smac"
    conditional: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=("smac==2.4.1", "ConfigSpace==1.2.2", "numpy==2.4.6", "scikit-learn==1.9.1")
    )

    n_initial: int = 10
    n_trees: int = 10
    challengers: int = 10_000
    local_searches: int = 10
    random_fraction: float = 0.2

    def __post_init__(self) -> None:
        require_least("n_initial", self.n_initial, 1)
        require_least("n_trees", self.n_trees, 1)
        require_least("challengers", self.challengers, 1)
        require_least("local_searches", self.local_searches, 1)
        require_least("random_fraction", self.random_fraction, 0)
