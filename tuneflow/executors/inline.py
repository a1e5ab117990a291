"""Run segments in this process, one after the other."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from tuneflow.executors.base import Ended, Executor, Message, Progress, check_isolation
from tuneflow.interrupt import Terminated
from tuneflow.preemption import notices
from tuneflow.trial import Outcome, Report, Segment
from tuneflow.worker import Control, run_segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import Job

_GRACE = 5.0
"""Seconds that an abandoned trial has to come to its next report."""


@dataclass
class InlineExecutor(Executor):
    """Runs one segment at a time in this process, in step with the driver.

    A trial that reports goes on only once the driver waits for more, so what the driver decides
    from a report reaches the trial before its next step, and a study takes the same course
    whenever it is run. The trial runs in a thread of its own, so that Ctrl-C ends the wait.

    Attributes:
        isolation: "thread" runs a trial in this process; "process" gives it a process of its
            own, which a timeout or a stop can end at any point.
        timeout: seconds after which a segment fails, or None.
    """

    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None

    def __post_init__(self) -> None:
        check_isolation(self.isolation, self.timeout)
        self._job: Job | None = None
        self._objective: Objective | None = None
        self._queue: deque[Segment] = deque()
        self._ready: list[Message] = []
        self._run: _Run | None = None

    @property
    def slots(self) -> int:
        """Always 1."""
        return 1

    def open(self, job: Job, objective: Objective) -> None:
        """Take note of what to run."""
        timeout = job.timeout if self.timeout is None else self.timeout
        # In step with the driver, a report is not told before its checkpoint is stored.
        self._job = replace(job, isolation=self.isolation, timeout=timeout, background=False)
        self._objective = objective

    def submit(self, segment: Segment) -> None:
        """Have a segment run after those submitted before it."""
        if not self._is_live(segment.key):
            self._queue.append(segment)

    def wait(self, timeout: float | None) -> list[Message]:
        """Let the running segment go on to its next report or its end.

        An error of the machinery around the objective, such as StorageError, is raised here.
        """
        if self._ready:
            messages, self._ready = self._ready, []
            return messages
        if self._run is None and self._queue:
            self._run = self._begin(self._queue.popleft())
        message = self._run.next(timeout) if self._run else None
        if isinstance(message, Ended):
            self._run = None
        return [message] if message else []

    def cancel(self, trial: int, segment: int) -> None:
        """Stop the segment at its next report, or take it back if it has not begun."""
        if self._run is not None and self._run.segment.key == (trial, segment):
            self._run.control.stop()
            return
        for waiting in self._queue:
            if waiting.key == (trial, segment):
                self._queue.remove(waiting)
                self._ready.append(Ended(Outcome(trial, segment, "stopped")))
                return

    def preempt(self, grace: float) -> None:
        """Have the running segment save a checkpoint at its next report and end."""
        if self._run is not None:
            self._run.preempt(grace)

    def close(self, *, abandon: bool) -> None:
        """End the running segment, if there is one, at its next report."""
        self._queue.clear()
        if self._run is not None:
            self._run.abandon()
            self._run = None

    def _is_live(self, key: tuple[int, int]) -> bool:
        running = self._run is not None and self._run.segment.key == key
        return running or any(waiting.key == key for waiting in self._queue)

    def _begin(self, segment: Segment) -> _Run:
        assert self._job is not None  # noqa: S101 - narrowed for the type checker
        assert self._objective is not None  # noqa: S101
        return _Run(self._job, self._objective, segment)


class _Run:
    """One segment in its thread, and the two hands that pass its reports over."""

    def __init__(self, job: Job, objective: Objective, segment: Segment) -> None:
        self.segment = segment
        self.control = Control()
        self._job = job
        self._objective = objective
        self._said: SimpleQueue[Message | BaseException] = SimpleQueue()
        self._go_on = threading.Semaphore(0)
        self._is_held = False
        self._is_leaving = False
        self._thread: threading.Thread | None = None

    def next(self, timeout: float | None) -> Message | None:
        """Let the segment go on, and return what it says next, or None after the timeout."""
        if self._thread is None:
            name = f"tuneflow-trial-{self.segment.trial}"
            self._thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._thread.start()
        elif self._is_held:
            self._is_held = False
            self._go_on.release()
        try:
            said = self._said.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(said, BaseException):
            raise said
        self._is_held = isinstance(said, Progress)
        return said

    def preempt(self, grace: float) -> None:
        """Let the segment come to a report that can be saved, and end it there."""
        self._is_leaving = True
        self.control.preempt()
        self._go_on.release()
        if self._thread is not None:
            self._thread.join(grace)

    def abandon(self) -> None:
        """End the segment without an outcome, as soon as it reports."""
        self._is_leaving = True
        self.control.abandon()
        self._go_on.release()
        if self._thread is not None:
            self._thread.join(_GRACE)

    def _work(self) -> None:
        try:
            with notices.listening(self.control):
                outcome = run_segment(
                    self._job,
                    self._objective,
                    self.segment,
                    emit=self._emit,
                    control=self.control,
                    worker="inline",
                )
        except BaseException as error:  # noqa: BLE001 - it is raised in the driver's thread
            self._said.put(error)
        else:
            if outcome is not None:
                self._said.put(Ended(outcome))
            elif not self._is_leaving:
                # There was a notice, and the driver runs on the same machine.
                self._said.put(Terminated())

    def _emit(self, report: Report) -> None:
        self._said.put(Progress(self.segment.trial, self.segment.segment, report, "inline"))
        if not self._is_leaving:
            self._go_on.acquire()
