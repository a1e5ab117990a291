"""Bayesian optimisation by Dragonfly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class Dragonfly(LibrarySearcher):
    """Asks Dragonfly: a Gaussian process on products of spaces, and several acquisitions by turns.

    Kandasamy et al., "Tuning Hyperparameters without Grad Students: Scalable and Robust Bayesian
    Optimisation with Dragonfly", JMLR 2020. Dragonfly needs a NumPy that little else does, so it
    has an environment of its own by default. A failed trial counts as the worst so far. Results
    are imagined for the pending ones, as Dragonfly does. Its first points are a Latin hypercube
    of six. Which acquisition is asked is drawn with equal chances: how well each has done is not
    taken into account. A point that was tried already is replaced by one drawn at random. After the
    sixth result, and each ``refit_every`` more, a proposal takes ten seconds to a minute or two;
    in between it takes about a second.

    Args:
        acq: the acquisitions, joined by hyphens: ``ei``, ``ucb``, ``ttei``, ``ts``. ``default`` is
            ``ei-ucb-ttei``.
        fit: where the hyperparameters of the model come from: ``ml`` the likelihood at its
            largest, ``post_sampling`` samples of their posterior, or the one by 30 % and the
            other by 70 % of chance. Default ``ml-post_sampling``. ``ml`` takes a second.
        refit_every: how many new results there are before they are found anew. Default 17.
        bandit: more settings of the Gaussian process bandit, by the names that Dragonfly has for
            them.
    """

    type: ClassVar[str] = "dragonfly"
    library: ClassVar[str] = "dragonfly"
    package: ClassVar[str] = "dragonfly-opt"
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        build=("numpy==1.23.5", "scipy==1.10.1", "setuptools<66", "wheel"),
        requirements=("dragonfly-opt==0.1.7",),
    )

    environment: Environment | None = Environment()  # noqa: RUF009 - a frozen value
    acq: str = "default"
    fit: Literal["ml-post_sampling", "ml", "post_sampling"] = "ml-post_sampling"
    refit_every: int = 17
    bandit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_least("refit_every", self.refit_every, 1)
