"""The algorithms of hyperopt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class HyperOpt(LibrarySearcher):
    """Asks hyperopt: its tree-structured Parzen estimator, annealing, or random draws.

    Bergstra, Yamins and Cox, "Making a Science of Model Search", ICML 2013; the estimator is that
    of Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011. Branches are
    hyperopt's own nested choices. Failed and pending trials count as the worst there are, which
    is what hyperopt makes of trials without a loss.

    Args:
        algorithm: ``tpe``, ``anneal`` or ``rand``. Default ``tpe``.
        n_startup_jobs: how many trials are drawn at random before the estimator is asked.
            Default 20.
        n_ei_candidates: how many candidates the estimator's best is chosen from. Default 24.
        gamma: how many trials are good ones, as a multiple of the square root of their number.
            Default 0.25.
        prior_weight: how many trials the prior weighs as much as. Default 1.
    """

    type: ClassVar[str] = "hyperopt"
    library: ClassVar[str] = "hyperopt"
    package: ClassVar[str] = "hyperopt"
    extra: ClassVar[str] = "hyperopt"
    conditional: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=("hyperopt==0.3.0", "numpy==2.4.6", "scipy==1.17.1")
    )

    algorithm: Literal["tpe", "anneal", "rand"] = "tpe"
    n_startup_jobs: int = 20
    n_ei_candidates: int = 24
    gamma: float = 0.25
    prior_weight: float = 1.0

    def __post_init__(self) -> None:
        require_least("n_startup_jobs", self.n_startup_jobs, 1)
        require_least("n_ei_candidates", self.n_ei_candidates, 1)
        require_least("gamma", self.gamma, 0)
        require_least("prior_weight", self.prior_weight, 0)
