"""Each configuration with several seeds: what a noisy objective needs. Ray Tune's Repeater."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.searchers.base import LATER, Proposal, Searcher
from tuneflow.searchers.repeat_groups import Groups
from tuneflow.searchers.wrapper import Wrapper, require_count
from tuneflow.space import Branch, Constant, Derived, Domain, Space
from tuneflow.trial import Resource


@dataclass(frozen=True, kw_only=True)
class Repeat(Wrapper):
    """Tries each configuration with the same seeds, and lets a searcher learn from the whole.

    Trials ``repeats * n`` to ``repeats * n + repeats - 1`` are group n: they differ in the seed
    alone. To the other searcher a group is one trial, of a space without the seed. It is pending
    until all its trials have ended; then its value is the mean or the median of theirs. Trials
    that failed are left out; where all of them failed, the group has failed.

    Where a scheduler pauses or stops some trials of a group early, the group has the values of
    the levels that all of them have reported, and goes on being pending when one of them is
    resumed. Schedulers decide about each trial by itself. Those that change configurations on
    the way, such as PBT, or bring their own do not go with this.

    Args:
        searcher: proposes the configurations.
        repeats: how many trials each configuration has.
        aggregate: "mean" or "median". Default "mean".
        seed_name: the parameter that holds the seed; it stands at the top of the space, and its
            values can be counted: the first ``repeats`` of them are the seeds. Default "seed".
    """

    type: ClassVar[str] = "repeat"

    repeats: int
    aggregate: Literal["mean", "median"] = "mean"
    seed_name: str = "seed"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("repeats", self.repeats)
        if self.aggregate not in ("mean", "median"):
            problem = f"{self.aggregate!r} is neither 'mean' nor 'median'"
            raise SpecError("searcher.aggregate", problem)

    def _within(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in params.items() if name != self.seed_name}

    def check(self, space: Space) -> None:
        """Raise SpecError when the space has no seed, or the other searcher cannot work on it."""
        seeds = space.nodes.get(self.seed_name)
        if not isinstance(seeds, Domain) or isinstance(seeds, Branch | Constant | Derived):
            problem = f"the space has no parameter '{self.seed_name}' to be set to the seeds"
            fix = f"add one, such as {self.seed_name}: {{type: int, low: 0, high: 99}}"
            raise SpecError("searcher.seed_name", problem, fix)
        if (seeds.size or 0) < self.repeats:
            problem = f"'{self.seed_name}' is {seeds.describe()}, and {self.repeats} are needed"
            raise SpecError(
                "searcher.repeats", problem, "give it as many values that can be counted"
            )
        self.searcher.check(self._without_seed(space))

    def trials(self, space: Space) -> int | None:
        """Return how many trials there are in all; None when there is no end."""
        configurations = self.searcher.trials(self._without_seed(space))
        return None if configurations is None else configurations * self.repeats

    def is_given(self, number: int) -> bool:
        """Whether no thought is needed for a trial: its group has begun, or is a given point."""
        group, repeat = divmod(number, self.repeats)
        return repeat > 0 or self.searcher.is_given(group)

    def propose_for(
        self, space: Space, history: History, rng: random.Random, until: Resource | None
    ) -> Proposal:
        """Return the configuration of the group that has begun, or of a new one, with its seed."""
        groups, number = self.groups(space, history), len(history.trials)
        if number % self.repeats:
            return self._seeded(space, number, groups.history.trials[-1].params)
        proposed = self.searcher.suggest(groups.space, groups.history, until)
        return self._seeded(space, number, proposed)

    def late(self, space: Space, history: History) -> Proposal:
        """Return a draw from the priors for a new group, with the first seed."""
        groups = self.groups(space, history)
        drawn = self.searcher.late(groups.space, groups.history)
        return self._seeded(space, len(history.trials), drawn)

    def groups(self, space: Space, history: History) -> Groups:
        """Return the groups of a study."""
        # An identity is good for a key because the groups hold on to both objects.
        key = ("repeat", id(self), id(space))
        return history.index(
            key,
            lambda: Groups(
                history,
                self._without_seed(space),
                repeats=self.repeats,
                seed_name=self.seed_name,
                middle=statistics.median if self.aggregate == "median" else statistics.fmean,
                owner=(self, space),
            ),
        )

    def _seeded(self, space: Space, number: int, proposed: Proposal) -> Proposal:
        """Return what is proposed for a group, with the seed of the trial of this number."""
        if proposed is None or proposed is LATER:
            return proposed
        seeds = space.nodes[self.seed_name]
        assert isinstance(seeds, Domain)  # noqa: S101 - narrowed for the type checker
        return {**proposed, self.seed_name: seeds.at(number % self.repeats)}

    def _without_seed(self, space: Space) -> Space:
        return Space(self._within(space.nodes))


def repeat_of(searcher: Searcher) -> Repeat | None:
    """Return what repeats the configurations of a searcher, itself or a searcher within."""
    while isinstance(searcher, Wrapper):
        if isinstance(searcher, Repeat):
            return searcher
        searcher = searcher.searcher
    return None
