"""Adaptive experimentation by Ax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher, require_least


@dataclass(frozen=True, kw_only=True)
class Ax(LibrarySearcher):
    """Asks Ax: a Gaussian process of BoTorch, with the settings that Ax chooses.

    Olson et al., "Ax: A Platform for Adaptive Experimentation", AutoML 2025, and Balandat et al.,
    "BoTorch: A Framework for Efficient Monte-Carlo Bayesian Optimization", NeurIPS 2020. A failed
    trial counts as the worst so far; pending ones Ax knows of itself. It needs PyTorch, and some
    seconds for each proposal.

    Args:
        n_initial: how many results the model needs; until then configurations are random.
            Default 5.
    """

    type: ClassVar[str] = "ax"
    library: ClassVar[str] = "ax"
    package: ClassVar[str] = "ax-platform"
    extra: ClassVar[str] = "ax"
    fitted: ClassVar[bool] = True
    tested: ClassVar[Environment] = Environment(
        requirements=("ax-platform==1.3.1", "botorch==0.18.1", "torch==2.13.0", "numpy==2.4.6")
    )

    n_initial: int = 5

    def __post_init__(self) -> None:
        require_least("n_initial", self.n_initial, 1)
