"""Population-based bandits (PB2).

Parker-Holder, Nguyen, Roberts: Provably Efficient Online Hyperparameter Optimization with
Population-Based Bandits, NeurIPS 2020. The defaults are those of Ray Tune, which the authors
contributed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.history import History
from tuneflow.schedulers.base import Clone
from tuneflow.schedulers.gains import Gains, Interval
from tuneflow.schedulers.pbt import PBT
from tuneflow.space import Domain, Float, Int, Normal, Space
from tuneflow.trial import Params

if TYPE_CHECKING:
    from tuneflow.schedulers.bandit import Array, Points

_MOST = 128
"""How many intervals are learnt from, the newest ones: older ones are nearly forgotten."""

_TAIL = 0.001
"""The share of a normal prior on each side that is never tried."""


@dataclass(frozen=True)
class PB2(PBT):
    """Population based training that learns where to explore.

    As in `PBT` the worst members copy the best. The numbers among a copy's parameters are then
    not perturbed, but chosen: a Gaussian process learns from all intervals so far by how much the
    loss fell, given the parameters, the loss before and the time, of which older ones count less.
    The choice maximises its upper confidence bound. What members that are under way try counts
    as known there, so that copies of the same round are spread out.

    Parameters of other kinds are explored as in PBT. Numbers are seen on the scale of their
    domain, so a log scale is one here too, and an integer is asked for where integers are. Needs
    numpy.

    Args:
        max_resource: the level at which a member is complete.
        interval: resource units between two exploitations of a member.
        quantile: fraction of the population that is replaced, and copied from. Default 0.25.
        resample_probability: for parameters that are no numbers; see `PBT`. Default 0.25.
        factors: likewise.
        mutations: dotted paths of the parameters that are explored; the others stay the
            donor's. Default: all of the space.
        synchronous: wait for the whole population before each exploitation; see `PBT`.
    """

    type: ClassVar[str] = "pb2"

    def check(self, space: Space) -> None:
        """Raise SpecError also when there is no number to explore."""
        super().check(space)
        if not self._modelled(space):
            problem = "no parameter that is explored is a number"
            raise SpecError("scheduler.mutations", problem, "use the scheduler pbt")

    def prepare(self) -> None:
        """Import numpy. Raises MissingDependencyError when it is not installed."""
        try:
            import numpy  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingDependencyError("numpy", "pb2", "the scheduler pbt") from error

    def explore(
        self, params: Params, space: Space, rng: random.Random, history: History, clone: Clone
    ) -> Params:
        """Return a donor's parameters with the numbers that the bandit chooses."""
        self.prepare()
        values = space.values(params)
        units = self._chosen(space, rng, history, clone)

        def choose(path: str, domain: Domain) -> Any:
            if path in units:
                return domain.from_unit(units[path])
            return self._explored(values, path, domain, rng)

        return space.build(choose)

    def _modelled(self, space: Space) -> dict[str, Domain]:
        return {
            path: domain
            for path, domain in space.domains().items()
            if isinstance(domain, Float | Int | Normal) and self._may_change(path)
        }

    def _chosen(
        self, space: Space, rng: random.Random, history: History, clone: Clone
    ) -> dict[str, float]:
        """Return the place in [0, 1) that each number is to have."""
        from tuneflow.schedulers.bandit import Bandit, maximise

        gains = history.index((PB2, "gains"), lambda: Gains(history))
        donor = history.trials[clone.source]
        here = Interval(donor.checkpoint_resource, gains.saved_loss(donor.number), {})
        view = _View(space, self._modelled(space), float(self.interval), gains.over[-_MOST:])
        bandit = Bandit(*view.observations())
        pending = view.points([*gains.under_way.values()])
        best = maximise(
            lambda rows: bandit.upper_bound(view.at(here, rows), pending),
            len(view.domains),
            rng.random,
            view.snap,
        )
        return {path: float(unit) for path, unit in zip(view.domains, best, strict=True)}


@dataclass(frozen=True)
class _View:
    """Intervals as points of the model.

    Attributes:
        space: the study's.
        domains: what is modelled, by path.
        unit: the resource units of one step of time.
        over: the intervals that are learnt from.
    """

    space: Space
    domains: Mapping[str, Domain]
    unit: float
    over: Sequence[Interval]

    def observations(self) -> tuple[Points, Array]:
        """Return where something was tried, and what it gained; failures gain least."""
        import numpy as np

        gains = np.array([interval.gain for interval in self.over], dtype=float)
        usable = np.isfinite(gains)
        if not usable.any():
            return self.points([]), np.zeros(0)
        return self.points(self.over), np.where(usable, gains, np.min(gains[usable]))

    def points(self, intervals: Sequence[Interval]) -> Points:
        """Return where intervals lie."""
        import numpy as np

        from tuneflow.schedulers.bandit import Points

        rows = [[self._state(interval), *self._units(interval.params)] for interval in intervals]
        times = np.array([interval.start / self.unit for interval in intervals], dtype=float)
        return Points(times, np.array(rows, dtype=float).reshape(-1, 1 + len(self.domains)))

    def at(self, here: Interval, rows: Array) -> Points:
        """Return where parameters lie, given as rows of [0, 1), were they tried here and now."""
        import numpy as np

        from tuneflow.schedulers.bandit import Points

        states = np.full((len(rows), 1), self._state(here))
        return Points(np.full(len(rows), here.start / self.unit), np.hstack([states, rows]))

    def snap(self, rows: Array) -> Array:
        """Move numbers that can be counted to the middle of their share of [0, 1).

        A normal prior has no bounds; what is tried stays within its middle 99.8 %.
        """
        snapped = rows.copy()
        for column, domain in enumerate(self.domains.values()):
            if isinstance(domain, Normal):
                snapped[:, column] = rows[:, column].clip(_TAIL, 1 - _TAIL)
            if domain.size is not None:
                snapped[:, column] = [domain.to_unit(domain.from_unit(u)) for u in rows[:, column]]
        return snapped

    @cached_property
    def _seen(self) -> tuple[float, float]:
        """The least and the largest loss before an interval."""
        seen = [interval.before for interval in self.over]
        return min(seen, default=0.0), max(seen, default=0.0)

    def _state(self, interval: Interval) -> float:
        """Return the loss before, on the scale of what was seen; in the middle if not known."""
        low, high = self._seen
        if interval.before == math.inf or high == low:
            return 0.5
        # Halves, for the difference of two very large values is infinite.
        return (interval.before / 2 - low / 2) / (high / 2 - low / 2)

    def _units(self, params: Params) -> list[float]:
        """Return the place of each number in [0, 1), the middle where it does not exist."""
        values = self.space.values(params)
        return [
            domain.to_unit(values[path]) if path in values else 0.5
            for path, domain in self.domains.items()
        ]
