"""The cost-frugal searches of flaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.errors import SpecError
from tuneflow.searchers.axes import Axes
from tuneflow.searchers.environment import Environment
from tuneflow.searchers.library import LibrarySearcher
from tuneflow.space import Space

_TESTED = Environment(requirements=("FLAML==2.8.0", "optuna==5.0.0", "numpy==2.4.6"))


@dataclass(frozen=True, kw_only=True)
class Flaml(LibrarySearcher):
    """The base of the searches of flaml.

    Args:
        low_cost: values of some parameters for which a trial is cheap, such as few layers: there
            the search begins. Default: it begins at random.

    The search is told what trials result in, not how long they take. Failed trials are told as
    failed. It hears of a trial once, so beside a scheduler that goes on with trials it learns
    from the first result that can be compared.
    """

    library: ClassVar[str] = "flaml"
    package: ClassVar[str] = "flaml"
    extra: ClassVar[str] = "flaml"
    tested: ClassVar[Environment] = _TESTED

    low_cost: Mapping[str, Any] | None = None

    def settings(self, axes: Axes) -> dict[str, Any]:
        """Return which search it is, and the cheap values encoded."""
        return {"algorithm": self.type, "low_cost": axes.encode_some(self.low_cost or {})}

    def check(self, space: Space) -> None:
        """Raise SpecError when it cannot work on the space, or a cheap value lies outside."""
        super().check(space)
        try:
            Axes(space).encode_some(self.low_cost or {})
        except SpecError as error:
            raise error.under("searcher.low_cost") from None


@dataclass(frozen=True, kw_only=True)
class CFO(Flaml):
    """Cost-frugal optimization: a randomized direct search from a cheap beginning.

    Wu, Wang and Huang, "Frugal Optimization for Cost-related Hyperparameters", AAAI 2021. It
    moves one step at a time, so few trials at once suit it best.
    """

    type: ClassVar[str] = "cfo"


@dataclass(frozen=True, kw_only=True)
class BlendSearch(Flaml):
    """Local searches like those of `CFO`, begun where a global search finds good places.

    Wang et al., "Economical Hyperparameter Optimization With Blended Search Strategy", ICLR 2021.
    The global search is Optuna's.
    """

    type: ClassVar[str] = "blendsearch"
