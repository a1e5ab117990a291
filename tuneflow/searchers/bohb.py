"""BOHB's searcher: a kernel density model of good and bad configurations.

Falkner, Klein, Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML
2018. It goes with the scheduler of that name, and with any other one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.searchers.base import Searcher, sampled
from tuneflow.searchers.bohb_results import Model, Results, Split
from tuneflow.searchers.cube import Cube
from tuneflow.space import Space
from tuneflow.space.values import is_number
from tuneflow.trial import Params


@dataclass(frozen=True, kw_only=True)
class BOHB(Searcher):
    """Draws near good configurations, and proposes what least resembles the bad ones.

    The results at one level are split into good and bad ones, with a density over each; d is
    the number of parameters that can vary, those of all branches too. The model is that of the
    highest level at which either side has more than d results. Before there is one, and for a
    fraction of the trials ever after, configurations are random.

    A failed trial, NaN and infinity count as bad ones. ``known_results`` count at the maximum
    resource. A parameter that a configuration's branches leave out is taken from another
    configuration of the same side, at random.

    Args:
        top_n_percent: how many percent of the results are good ones, from 1 to 99. Default 15.
        num_samples: how many candidates are drawn for a proposal. Default 64.
        random_fraction: the share of random configurations, from 0 to 1. Default 1/3.
        bandwidth_factor: how much wider than the density the candidates are drawn around good
            configurations. Default 3.
        min_bandwidth: the smallest bandwidth, on the scale where each number lies in [0, 1].
            Default 0.001.
        min_points_in_model: how many results either side has at least. Default, and at least,
            d + 1.

    The defaults are those of HpBandSter, the authors' own package, and so are the formulas, with
    these exceptions. The kernel of a category counts all categories, not just those seen, and
    its bandwidth ends where all are equally likely; there, an unseen one has an infinite
    density, and a large bandwidth a negative one. A failed trial is never a good one. All levels
    that trials report at have results, not only those at which they pause. And pending trials
    are respected: a configuration that is running is not proposed again, as long as
    ``num_samples`` candidates or random draws have another one.
    """

    type: ClassVar[str] = "bohb"

    top_n_percent: int = 15
    num_samples: int = 64
    random_fraction: float = 1 / 3
    bandwidth_factor: float = 3
    min_bandwidth: float = 1e-3
    min_points_in_model: int | None = None

    def __post_init__(self) -> None:
        self._check_whole("top_n_percent", 1, 99)
        self._check_whole("num_samples", 1)
        if self.min_points_in_model is not None:
            self._check_whole("min_points_in_model", 1)
        if not is_number(self.random_fraction) or not 0 <= self.random_fraction <= 1:
            problem = f"{self.random_fraction!r} is not a number from 0 to 1"
            raise SpecError("searcher.random_fraction", problem)
        for name in ("bandwidth_factor", "min_bandwidth"):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < float("inf"):
                raise SpecError(f"searcher.{name}", f"{value!r} is not a number above 0")

    def _check_whole(self, name: str, least: int, most: float = float("inf")) -> None:
        value: Any = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            limits = f"from {least} to {most}" if most < float("inf") else f"of {least} or more"
            raise SpecError(f"searcher.{name}", f"{value!r} is not a whole number {limits}")

    @property
    def ahead(self) -> bool:
        """Proposals are made ahead: they take longer the more results there are at a level."""
        return True

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return the most promising of the candidates, or a random configuration."""
        # An identity is good for a key because the index holds on to both objects.
        key = ("bohb", id(self), id(space))
        results = history.index(key, lambda: _Kept(self, Cube(space), history))
        model = results.model
        if model is None or rng.random() < self.random_fraction:
            return self._random(results, rng)
        for params in self._ranked(results, model, rng):
            if not results.is_running(params):
                return params
        return self._random(results, rng)

    def _ranked(self, results: Results, model: Model, rng: random.Random) -> Iterator[Params]:
        """Yield the candidates, the most promising first."""
        draws = (model.good.draw(rng, self.bandwidth_factor) for _ in range(self.num_samples))
        return map(results.params, sorted(draws, key=model.badness))

    def _random(self, results: Results, rng: random.Random) -> Params:
        """Return a random configuration that does not run, if a few draws find one."""
        params = results.cube.space.build(sampled(rng))
        for _ in range(self.num_samples):
            if not results.is_running(params):
                break
            params = results.cube.space.build(sampled(rng))
        return params


class _Kept(Results):
    """The results that a searcher learns from; it holds on to the searcher."""

    def __init__(self, searcher: BOHB, cube: Cube, history: History) -> None:
        self._searcher = searcher
        least = max(searcher.min_points_in_model or 0, len(cube) + 1)
        super().__init__(
            cube,
            history,
            Split(searcher.top_n_percent, least),
            searcher.min_bandwidth,
            searcher.known_results,
        )
