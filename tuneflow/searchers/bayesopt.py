"""Bayesian optimization by the package bayesian-optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class BayesOpt(LibrarySearcher):
    """Asks bayesian-optimization: a Gaussian process and an acquisition function.

    Nogueira, "Bayesian Optimization: Open source constrained global optimization tool for
    Python", 2014, after Snoek, Larochelle and Adams, "Practical Bayesian Optimization of Machine
    Learning Algorithms", NIPS 2012. All numbers are modelled between 0 and 1, those with a log
    scale on it, and a choice as one number for each option. A failed trial counts as the worst
    so far, a pending one as the mean.

    Args:
        acquisition: what is made large: ``ucb`` the upper confidence bound, ``ei`` the expected
            improvement, ``poi`` its probability. Default ``ucb``.
        kappa: how many standard deviations the bound of ``ucb`` lies above the mean: more
            explore. Default 2.576.
        xi: the least improvement that counts for ``ei`` and ``poi``: more explore. Default 0.
        init_points: how many results the model needs; until then configurations are random.
            Default 5.
    """

    type: ClassVar[str] = "bayesopt"
    library: ClassVar[str] = "bayesopt"
    package: ClassVar[str] = "bayesian-optimization"
    extra: ClassVar[str] = "bayesopt"
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=("bayesian-optimization==1.4.0", "numpy==2.4.6", "scikit-learn==1.9.1")
    )

    acquisition: Literal["ucb", "ei", "poi"] = "ucb"
    kappa: float = 2.576
    xi: float = 0.0
    init_points: int = 5

    def __post_init__(self) -> None:
        require_least("kappa", self.kappa, 0)
        require_least("xi", self.xi, 0)
        require_least("init_points", self.init_points, 1)
