"""Collecting while a study is driven, without holding it up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tuneflow.collecting.collector import Collector, keep_of
from tuneflow.errors import TuneflowError
from tuneflow.events import Fact, Reported
from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.retention import Needs
from tuneflow.store import Store

PAUSE: Final = 300.0
"""Seconds between two collections, unless many checkpoints are reported meanwhile."""

MANY: Final = 200
"""So many checkpoints are enough to begin earlier."""

_SHARE: Final = 10
"""After a collection there is a pause of so many times what it took, at least."""

_PATIENCE: Final = 60.0
"""Seconds that the end of a study waits for a collection that runs, and is told to stop."""

_GRACE: Final = 2.0
"""Seconds that a driver which is interrupted waits for it."""

_log = logging.getLogger("tuneflow")


@contextmanager
def collecting(
    opened: OpenStudy, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[History, Sequence[Fact]], None] | None]:
    """Have checkpoints removed while a study is driven, and once more when it has finished.

    Gives the observer that is to be called after each commit; None when the study keeps all.

    Args:
        opened: the study that is driven.
        clock: returns seconds.
    """
    if opened.study.checkpoints.keep.all:
        yield None
        return
    background = Background(opened, clock)
    try:
        yield background.committed
    except BaseException:
        background.stop(_GRACE)
        raise
    background.stop(_PATIENCE)
    background.finish()


class Background:
    """Collects in a thread, when there may be something to collect.

    It has a store of its own. What is needed is found between two commits of the driver, where all
    that its history has is committed.

    Args:
        opened: the study that is driven.
        clock: returns seconds.
        safe: see `Collector`.
    """

    def __init__(
        self,
        opened: OpenStudy,
        clock: Callable[[], float] = time.monotonic,
        *,
        safe: float | None = None,
    ) -> None:
        self._opened = opened
        self._clock = clock
        self._keep = keep_of(opened)
        self._is_stopping = False
        self._collector = Collector(Store(opened.url), go_on=self._may_go_on, safe=safe)
        self._thread: threading.Thread | None = None
        self._saved = 0
        self._ended = clock()
        self._pause = 0.0
        self._known()  # The history makes its index while nobody waits for a decision.

    def committed(self, history: History, facts: Sequence[Fact]) -> None:
        """Begin a collection in the background if it is time for one; an observer."""
        self._saved += sum(
            isinstance(fact, Reported) and fact.report.checkpoint is not None for fact in facts
        )
        if self._is_due():
            self._saved = 0
            self._thread = threading.Thread(
                target=self._run, args=self._known(), name="collecting", daemon=True
            )
            self._thread.start()

    def stop(self, patience: float) -> None:
        """Have a collection that runs stop, and wait for that, so many seconds at most."""
        self._is_stopping = True
        if self._thread is not None:
            self._thread.join(patience)

    def finish(self) -> None:
        """Collect once more, here, if the study is finished."""
        is_idle = self._thread is None or not self._thread.is_alive()
        if is_idle and self._opened.history.state == "finished":
            self._is_stopping = False
            self._run(*self._known())

    def _is_due(self) -> bool:
        if self._thread is not None and self._thread.is_alive():
            return False
        since = self._clock() - self._ended
        return since >= PAUSE or (self._saved >= MANY and since >= self._pause)

    def _known(self) -> tuple[Needs, int]:
        needs = Needs.of(self._opened.history, self._keep)
        return needs, self._opened.journal.next_number

    def _run(self, needs: Needs, next_entry: int) -> None:
        """Collect; a storage that fails now is tried again later, and fails no study."""
        began = self._clock()
        try:
            done = self._collector.collect(needs, next_entry)
        except TuneflowError as error:
            _log.warning("checkpoints are removed later: %s", error)
        except Exception:  # noqa: BLE001 - the study has nothing to do with it
            _log.exception("checkpoints are removed later")
        else:
            if not done.is_empty:
                _log.info("%s: %s", done.study, done)
        self._ended = self._clock()
        self._pause = _SHARE * (self._ended - began)

    def _may_go_on(self) -> bool:
        return not self._is_stopping
