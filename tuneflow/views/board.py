"""What the live view knows of a study, kept up to date at a cost that does not grow with it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence

from tuneflow.convert import trial_value
from tuneflow.events import Closed, Fact, Opened
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Trial
from tuneflow.views import text
from tuneflow.views.front import Front
from tuneflow.views.progress import Best, rungs_of, share_done, trial_limit

_RECENT = 4


class Board:
    """The newest state of a study that is being watched.

    One thread calls `update`; another may read, while it holds ``lock``.

    Args:
        study: the study.
        history: its history, which the driver adds to.
        fresh: how many of its facts are news; what lies before them happened earlier.
        clock: seconds since the view began.

    Attributes:
        best: the best trial, or None.
        front: keeps the Pareto front of a study of several metrics.
        recent: the trials of which a segment closed last, oldest first.
        rungs: what the rungs hold.
    """

    def __init__(
        self, study: Study, history: History, fresh: int, clock: Callable[[], float]
    ) -> None:
        self.study = study
        self.history = history
        self.lock = threading.Lock()
        self.recent: deque[Trial] = deque(maxlen=_RECENT)
        self.best: Trial | None = None
        self.rungs = rungs_of(study, history)
        self._clock = clock
        self._closed = 0
        self._bests = Best(history)
        self.front = Front(history)
        is_resumed = len(history.facts) > fresh
        self._share_before = (share_done(study, history) or 0.0) if is_resumed else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the view began."""
        return self._clock()

    def update(self, facts: Sequence[Fact]) -> list[Trial]:
        """Take in facts that are in the history already; return the trials that paused or ended."""
        with self.lock:
            trials = self.history.trials
            closed = [trials[fact.trial] for fact in facts if isinstance(fact, Closed)]
            self._closed += len(closed)
            self.recent.extend(closed)
            if any(isinstance(fact, Opened) for fact in facts):
                self._look_at(range(len(trials)))
            changed = (getattr(fact, "trial", None) for fact in facts)
            self._look_at({number for number in changed if number is not None})
            self.best = self._bests.get()
            return closed

    def _look_at(self, numbers: Collection[int]) -> None:
        self._bests.update(numbers)
        if self.study.other_metrics:
            self.front.update(numbers)

    def share(self) -> float | None:
        """Return which share of the study is done, or None."""
        return share_done(self.study, self.history)

    def left(self) -> float | None:
        """Return about how many seconds are left, or None when that cannot be said yet."""
        share = self.share()
        if share is None or share <= self._share_before or share >= 1.0:
            return None
        return self.elapsed * (1.0 - share) / (share - self._share_before)

    def pace(self) -> str:
        """Return how many trials have begun, how many segments end a second, and the times."""
        limit, left, elapsed = trial_limit(self.study), self.left(), self.elapsed
        of = f"/{limit}" if limit is not None else ""
        rate = self._closed / elapsed if elapsed > 0 else 0.0
        parts = [f"{len(self.history.trials)}{of} trials", f"{text.number(rate, 3)}/s"]
        parts.append(text.duration(elapsed))
        if left is not None:
            parts.append(f"{text.duration(left)} left")
        return "  ".join(parts)

    def best_value(self) -> str:
        """Return the best value, or a dash."""
        return text.number(trial_value(self.history, self.best) if self.best else None)
