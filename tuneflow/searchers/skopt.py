"""Sequential model-based optimization by scikit-optimize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class SkOpt(LibrarySearcher):
    """Asks scikit-optimize: a Gaussian process, or trees, and an acquisition function.

    Head et al., "scikit-optimize", 2018; the model is that of Snoek, Larochelle and Adams,
    "Practical Bayesian Optimization of Machine Learning Algorithms", NIPS 2012. A failed trial
    counts as the worst so far. A pending one counts as the best so far, which keeps others away
    from it: scikit-optimize's own constant liar, ``cl_min``.

    Args:
        base_estimator: the model: ``GP`` a Gaussian process, ``RF`` a random forest, ``ET`` extra
            trees, ``GBRT`` gradient boosted trees. Default ``GP``. The time that ``GP`` takes
            grows with the cube of the number of trials.
        n_initial_points: how many trials are drawn at random before the model is asked.
            Default 10.
        acq_func: what is made large: ``LCB`` the lower confidence bound, ``EI`` the expected
            improvement, ``PI`` its probability, or ``gp_hedge``, one of these three by chance.
            Default ``gp_hedge``.
    """

    type: ClassVar[str] = "skopt"
    library: ClassVar[str] = "skopt"
    package: ClassVar[str] = "scikit-optimize"
    extra: ClassVar[str] = "skopt"
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=("scikit-optimize==0.10.2", "numpy==2.4.6", "scikit-learn==1.9.1")
    )

    base_estimator: Literal["GP", "RF", "ET", "GBRT"] = "GP"
    n_initial_points: int = 10
    acq_func: Literal["gp_hedge", "LCB", "EI", "PI"] = "gp_hedge"

    def __post_init__(self) -> None:
        require_least("n_initial_points", self.n_initial_points, 1)
