"""The gradient-free optimizers of nevergrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class Nevergrad(LibrarySearcher):
    """Asks one of nevergrad's optimizers: evolution, swarms, and what chooses among them.

    Rapin and Teytaud, "Nevergrad - A gradient-free optimization platform", 2018; ``NGOpt``, which
    chooses by the number of parameters, workers and trials, is that of Meunier et al., "Black-Box
    Optimization Revisited", IEEE Transactions on Evolutionary Computation 2022. A failed trial
    counts as the worst so far.

    Args:
        optimizer: a name in nevergrad's registry, such as ``NGOpt``, ``OnePlusOne``, ``DE``,
            ``PSO`` or ``CMA``. Default ``NGOpt``.
        budget: how many trials there will be, by which ``NGOpt`` and others plan; more do no
            harm. Default 100.
        num_workers: how many trials run at once, by which some plan; 2 or more, as for one at a
            time nevergrad takes algorithms that cannot propose before they have each result.
            Default 2.
    """

    type: ClassVar[str] = "nevergrad"
    library: ClassVar[str] = "nevergrad"
    package: ClassVar[str] = "nevergrad"
    extra: ClassVar[str] = "nevergrad"
    tested: ClassVar[Environment] = Environment(
        requirements=("nevergrad==1.0.12", "bayesian-optimization==1.4.0", "numpy==2.3.5")
    )

    optimizer: str = "NGOpt"
    budget: int = 100
    num_workers: int = 2

    def __post_init__(self) -> None:
        require_least("budget", self.budget, 1)
        require_least("num_workers", self.num_workers, 2)
