"""BOHB's generator of HpBandSter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class HpBandSter(LibrarySearcher):
    """Asks HpBandSter, the package of BOHB's authors, for the configurations of new trials.

    Falkner, Klein, Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML
    2018. The searcher ``bohb`` has the same model without its faults, needs nothing to be
    installed and is much faster; this one is there to compare with. Failed trials count as the
    worst, pending ones are not known to the model. A model that fails is an error here, not a
    random pick.

    HpBandSter requires packages that it does not use here, so it is installed without them: ``pip
    install numpy scipy statsmodels Pyro4 serpent ConfigSpace`` and ``pip install --no-deps
    hpbandster``.

    Args:
        top_n_percent: how many percent of the results are good ones. Default 15.
        num_samples: how many candidates are drawn for a proposal. Default 64.
        random_fraction: the share of random configurations. Default 1/3.
        bandwidth_factor: how much wider than the density the candidates are drawn. Default 3.
        min_bandwidth: the smallest bandwidth. Default 0.001.
        min_points_in_model: how many results either side has at least. Default, and at least, one
            more than there are parameters.
    """

    type: ClassVar[str] = "hpbandster"
    library: ClassVar[str] = "hpbandster"
    package: ClassVar[str] = "hpbandster"
    conditional: ClassVar[bool] = True
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=(
            "numpy==2.4.6",
            "scipy==1.17.1",
            "statsmodels==0.15.0",
            "ConfigSpace==1.2.2",
            "Pyro4==4.82",
            "serpent==1.43",
        ),
        no_deps=("hpbandster==0.7.4",),
    )

    top_n_percent: int = 15
    num_samples: int = 64
    random_fraction: float = 1 / 3
    bandwidth_factor: float = 3
    min_bandwidth: float = 1e-3
    min_points_in_model: int | None = None

    def __post_init__(self) -> None:
        require_least("top_n_percent", self.top_n_percent, 1)
        require_least("num_samples", self.num_samples, 1)
        require_least("random_fraction", self.random_fraction, 0)
        require_least("bandwidth_factor", self.bandwidth_factor, 0)
        require_least("min_bandwidth", self.min_bandwidth, 0)
        if self.min_points_in_model is not None:
            require_least("min_points_in_model", self.min_points_in_model, 1)
