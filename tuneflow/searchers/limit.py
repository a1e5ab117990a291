"""A limit on how many trials of a searcher run at once.

The fewer trials run, the more a searcher knows when it proposes the next one. Ray Tune calls this
the ConcurrencyLimiter.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

from tuneflow.history import History
from tuneflow.searchers.base import LATER, Proposal, Searcher
from tuneflow.searchers.repeat import Repeat
from tuneflow.searchers.wrapper import Wrapper, require_count
from tuneflow.space import Space
from tuneflow.trial import Resource


@dataclass(frozen=True, kw_only=True)
class ConcurrencyLimit(Wrapper):
    """Proposes nothing new while many trials run, or wait for a retry.

    Trials that a scheduler resumes count while they run, but are never held back: no searcher is
    asked for them. In rounds, a round has no more new trials than the limit.

    Args:
        searcher: proposes the configurations.
        most: how many trials there may be at once.
        batch: whether a new batch of ``most`` trials is begun only when nothing runs any more.
            Default False: as soon as one has ended, the next begins.
    """

    type: ClassVar[str] = "concurrency_limit"

    most: int
    batch: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("most", self.most)

    def propose_for(
        self, space: Space, history: History, rng: random.Random, until: Resource | None
    ) -> Proposal:
        """Return what the other searcher proposes, once there is room for it."""
        return LATER if self._is_full(history) else self.searcher.suggest(space, history, until)

    def late(self, space: Space, history: History) -> Proposal:
        """Return a draw from the priors, once there is room for it."""
        return LATER if self._is_full(history) else self.searcher.late(space, history)

    def _is_full(self, history: History) -> bool:
        busy = len(history.running) + len(history.retries)
        if self.batch:
            return busy > 0 and len(history.trials) % self.most == 0
        return busy >= self.most


def new_trials(searcher: Searcher, size: int) -> int:
    """Return how many new trials a round can have, on average at least, that has room for ``size``.

    They are fewer where a searcher lets no more run at once.
    """
    group = 1
    while isinstance(searcher, Wrapper):
        if isinstance(searcher, ConcurrencyLimit):
            most = searcher.most * group
            # The last round of a batch may have room for more than is left of it.
            size = most // math.ceil(most / size) if searcher.batch else min(size, most)
        elif isinstance(searcher, Repeat):
            group *= searcher.repeats
        searcher = searcher.searcher
    return size
