"""At which reports a checkpoint is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable

from tuneflow.objective.stream import Context
from tuneflow.trial import Resource


class Period:
    """Counts reports and seconds since a trial's last checkpoint, or since its segment began.

    Args:
        context: what the trial runs in.
        clock: tells seconds, and never goes back.
    """

    def __init__(self, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._soon = False
        self.begin(context)

    def begin(self, context: Context) -> None:
        """Begin a segment; the time that a trial was suspended before it does not count."""
        self._context = context
        self.saved()

    def saved(self) -> None:
        """Begin anew: a checkpoint was handed over."""
        self._soon = False
        self._reports = 0
        self._since = self._clock()

    def hurry(self) -> None:
        """Want one at the next report that can have one. Safe from any thread."""
        self._soon = True

    def is_over(self, resource: Resource) -> bool:
        """Count a report; return whether its checkpoint is wanted.

        It is where the period in reports or in seconds is over, and where the segment ends. It
        stays wanted until a report has one.
        """
        self._reports += 1
        every, seconds = self._context.every, self._context.seconds
        until = self._context.segment.until
        return (
            self._soon
            or (until is not None and resource >= until)
            or (every is not None and self._reports >= every)
            or (seconds is not None and self._clock() - self._since >= seconds)
        )
