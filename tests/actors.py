"""Threads of which one at a time goes on, as far as it is told: what they do is repeatable."""

from __future__ import annotations

import threading

_PATIENCE = 10.0


class Actor:
    """A thread that goes on when it is told to, until it pauses or ends.

    Attributes:
        error: what it ended with, if it was an error.
        is_over: whether it has ended.
    """

    def __init__(self, body):
        self.error = None
        self.is_over = False
        self._body = body
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def go_on(self):
        """Let it go on until it pauses or ends."""
        assert not self.is_over
        self._go.release()
        assert self._back.acquire(timeout=_PATIENCE), "it neither pauses nor ends"
        if self.is_over:
            self._thread.join()

    def pause(self):
        """Wait to be told to go on; it is the actor itself that calls this."""
        self._back.release()
        self._go.acquire()

    def _work(self):
        self._go.acquire()
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001 - whoever drives it looks at the error
            self.error = error
        self.is_over = True
        self._back.release()
