"""Bayesian optimisation by HEBO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class HEBO(LibrarySearcher):
    """Asks HEBO: a Gaussian process on transformed results, and three acquisitions at once.

    Cowen-Rivers et al., "HEBO: Pushing the Limits of Sample-Efficient Hyperparameter
    Optimisation", JAIR 2022, which won the black-box optimisation challenge of NeurIPS 2020. HEBO
    needs a NumPy and a pymoo that are old, and PyTorch, so it has an environment of its own by
    default; that takes 2 GB. Failed and pending trials count as the worst so far. Where the model
    breaks down, the next point of the sequence is taken. A proposal takes two to six seconds, and
    more from a few hundred trials on.

    Args:
        model: ``gp`` a Gaussian process, ``rf`` a random forest, or ``catboost``. Default ``gp``.
        rand_sample: how many results there are, from points of a Sobol' sequence, before the
            model is asked; 2 or more. Default: one more than there are parameters.
        model_config: the settings of the model, by HEBO's names; they replace all of its own.
        generations: how long the best point by the acquisitions is searched for, which takes most
            of the time. Default 100.
    """

    type: ClassVar[str] = "hebo"
    library: ClassVar[str] = "hebo"
    package: ClassVar[str] = "HEBO"
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=(
            "HEBO==0.3.6",
            "torch==2.13.0",
            "numpy==1.24.4",
            "scipy==1.11.4",
            "pandas==2.0.3",
            "matplotlib==3.7.5",
            "contourpy==1.2.1",
            "scikit-learn==1.3.2",
            "GPy==1.13.2",
            "catboost==1.2.7",
            "pymoo==0.6.0",
            "gpytorch==1.13",
            "linear_operator==0.5.3",
        )
    )

    environment: Environment | None = Environment()  # noqa: RUF009 - a frozen value
    model: Literal["gp", "rf", "catboost"] = "gp"
    rand_sample: int | None = None
    model_config: Mapping[str, Any] | None = None
    generations: int = 100

    def __post_init__(self) -> None:
        require_least("generations", self.generations, 1)
        if self.rand_sample is not None:
            require_least("rand_sample", self.rand_sample, 2)
