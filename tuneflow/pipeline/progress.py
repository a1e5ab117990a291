"""How far a study has come, as a line for a task's log."""

from __future__ import annotations

import threading

from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.store import Store
from tuneflow.study import Study
from tuneflow.trial import TrialState
from tuneflow.views.progress import trial_limit
from tuneflow.views.text import plural, results


class Follower:
    """Reads a study's journal while others write it; safe from any thread.

    Args:
        url: the study's URL.

    Raises:
        StudyNotFoundError: there is no study.
        StorageError: the storage failed. So may `refresh`.
    """

    def __init__(self, url: str) -> None:
        self._opened = OpenStudy.open(Store(url).expected().url)
        self._lock = threading.Lock()

    @property
    def study(self) -> Study:
        """The spec."""
        return self._opened.study

    @property
    def history(self) -> History:
        """What was known when `refresh` was called last."""
        return self._opened.history

    def refresh(self) -> bool:
        """Read on; return whether there was anything new."""
        with self._lock:
            return bool(self._opened.refresh())


def line(study: Study, history: History) -> str:
    """Return a line such as ``12 of 40 trials done, 4 running, best accuracy 0.94 (trial 7)``."""
    counts = history.counts
    done = sum(count for state, count in counts.items() if state.is_final)
    limit = trial_limit(study)
    parts = [
        f"{done} of {plural(limit, 'trial')} done" if limit else f"{plural(done, 'trial')} done"
    ]
    shown = (TrialState.RUNNING, TrialState.PAUSED, TrialState.FAILED)
    parts += [f"{counts[state]} {state.value}" for state in shown if counts[state]]
    best = history.best()
    if best is not None:
        parts.append(f"best {results(history, best)} (trial {best.number})")
        if study.other_metrics:
            parts.append(f"front of {len(history.pareto_front())}")
    return ", ".join(parts)
