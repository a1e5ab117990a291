"""Removing the checkpoints that a study does not keep, from a task of an orchestrator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from tuneflow.collecting import collect
from tuneflow.errors import TuneflowError
from tuneflow.opened import OpenStudy

_SECONDS: Final = 60.0
"""After so long the rest is left to the next task, or to ``tuneflow gc``."""


def collect_between_rounds(
    opened: OpenStudy, log: Any, clock: Callable[[], float] = time.monotonic
) -> None:
    """Remove what is not kept, as far as one gets in a minute; fails no task.

    Args:
        opened: the study; the round is decided and committed.
        log: a logger.
        clock: returns seconds.
    """
    if opened.study.checkpoints.keep.all:
        return
    deadline = clock() + _SECONDS
    try:
        done = collect(opened, go_on=lambda: clock() < deadline)
    except TuneflowError as error:
        log.warning("checkpoints are removed later: %s", error)
        return
    if not done.is_empty:
        log.info("%s", done)
