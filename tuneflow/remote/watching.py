"""Watch a submitted study to its end, and have its driver ordered again when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuneflow.errors import ClusterError, TuneflowError
from tuneflow.opened import OpenStudy
from tuneflow.remote.cluster import Cluster, OrderCancelledError, SchedulerLostError
from tuneflow.remote.ends import PATIENCE, PAUSE, Losses, known_end
from tuneflow.remote.submission import Submission, check_answer, on_worker
from tuneflow.stream import Observer

if TYPE_CHECKING:
    from distributed import Future

_EVERY = 1.0
"""Seconds between two looks at the journal."""


def follow(
    submission: Submission,
    opened: OpenStudy,
    *,
    view: Observer | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Watch a submitted study to its end.

    Where the scheduler goes away, this waits for it to come back. Where the driver is lost with it,
    or dies with one worker after another, it is ordered again, up to five times without a segment
    that has ended in between. KeyboardInterrupt ends the watching only.

    Args:
        submission: what `submit` returned.
        opened: the study; it is up to date in the end.
        view: called with the history and the new facts.
        tell: told in a sentence when the driver is lost.

    Raises:
        OrderCancelledError: somebody has cancelled the study; it can be submitted again.
        StudyConflictError: another driver has taken over.
        ClusterError: the cluster stays away, or driver after driver is lost.
        TuneflowError: what a driver has ended with, such as an ObjectiveError.
    """
    _Watch(submission, opened, view, tell).run()


class _Watch:
    def __init__(
        self,
        submission: Submission,
        opened: OpenStudy,
        view: Observer | None,
        tell: Callable[[str], None] | None,
    ) -> None:
        self._submission = submission
        self._opened = opened
        self._view = view
        self._tell = tell
        self._patience = 0.0

    def run(self) -> None:
        opened = self._opened
        opened.refresh()
        if self._view is not None:
            self._view(opened.history, ())
        losses = Losses(opened.history.closings)
        while not self._is_over():
            with self._reach() as cluster:
                lost = self._lost(cluster)
            if lost is None:
                break
            self._look()
            losses.note(lost, opened.history.closings)
            self._note(lost)

    def _lost(self, cluster: Cluster) -> ClusterError | None:
        """Watch a driver; return None when the study is over, or how the driver was lost."""
        try:
            self._watch(cluster)
        except OrderCancelledError:
            if not self._is_over():
                raise
        except ClusterError as error:
            return error
        return None

    def _is_over(self) -> bool:
        self._look()
        opened = self._opened
        return known_end(self._submission.order, opened.study, opened.history) is not None

    def _reach(self) -> Cluster:
        """Connect; but for the first time, wait until the cluster is back."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._submission.reach()
            except ClusterError:
                if time.monotonic() >= deadline:
                    raise
            self._look()
            time.sleep(PAUSE)

    def _watch(self, cluster: Cluster) -> None:
        future = self._submission.give(cluster)
        self._wait(cluster, future)
        try:
            answer = cluster.result(future)
        except OrderCancelledError:
            raise self._cancelled() from None
        except TuneflowError as error:
            raise on_worker(error) from error
        self._look()
        if answer["state"] == "interrupted":
            raise self._cancelled()
        check_answer(self._submission, answer)

    def _wait(self, cluster: Cluster, future: Future[Any]) -> None:
        over = threading.Event()
        future.add_done_callback(lambda _: over.set())
        while not over.wait(_EVERY) and not cluster.is_lost:
            self._look()

    def _look(self) -> None:
        facts = self._opened.refresh()
        if facts and self._view is not None:
            self._view(self._opened.history, facts)

    def _note(self, error: ClusterError) -> None:
        if self._tell is not None:
            self._tell(self._saying(error))
        self._patience = PATIENCE
        time.sleep(PAUSE)

    def _saying(self, error: ClusterError) -> str:
        if isinstance(error, SchedulerLostError):
            address = self._submission.address.address
            return f"the Dask scheduler at {address} is gone; the study goes on when it is back"
        return f"the driver is lost and is ordered again: {error}"

    def _cancelled(self) -> OrderCancelledError:
        return OrderCancelledError(
            f"{self._submission.url} was cancelled; submit it again to go on with it"
        )
