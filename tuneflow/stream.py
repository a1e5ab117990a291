"""Drive a study in streaming mode: decide whenever something is reported.

One turn: wait for messages, turn them into facts, decide, commit all of it in one entry, and
only then act on it. What is committed is done again after a crash; what is not committed has
not happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from tuneflow.ahead import deciding
from tuneflow.events import Elapsed, Fact, Halted, Launched, Opened, Stopped
from tuneflow.executors.base import Ended, Executor, Message
from tuneflow.history import History
from tuneflow.interrupt import Interrupts
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import settle
from tuneflow.recording import record_outcome, record_report
from tuneflow.study import halting

Observer: TypeAlias = Callable[[History, Sequence[Fact]], None]
"""Called after each commit with the history and the new facts; for views and trackers."""


def drive(
    opened: OpenStudy,
    executor: Executor,
    *,
    observe: Observer | None = None,
    retry_failed: bool = False,
    interrupts: Interrupts | None = None,
) -> None:
    """Run a study to its end, from wherever it stands.

    Args:
        opened: the study.
        executor: an executor that is open.
        observe: told about each commit.
        retry_failed: try failed trials again, also in a study that has finished.
        interrupts: where Ctrl-C is waited for; by default it ends the wait at once.

    Raises:
        KeyboardInterrupt: after Ctrl-C; the study is resumable.
        StudyConflictError: another driver has taken over.
    """
    _Driver(opened, executor, observe, interrupts or Interrupts()).run(retry_failed)


class _Driver:
    def __init__(
        self,
        opened: OpenStudy,
        executor: Executor,
        observe: Observer | None,
        interrupts: Interrupts,
    ) -> None:
        self._opened = opened
        self._study = opened.study
        self._history = opened.history
        self._executor = executor
        self._observe = observe
        self._interrupts = interrupts
        self._deciding = deciding(self._study, self._history, executor)
        self._began = executor.now() - opened.history.elapsed
        self._worked = opened.history.trial_time

    def run(self, retry_failed: bool) -> None:
        """Take the study over and turn until it is over."""
        if self._history.state == "finished" and not retry_failed:
            return
        with self._deciding:
            self._take_over(retry_failed)
            try:
                while not self._is_over():
                    self._turn(self._wait())
            except KeyboardInterrupt:
                self._halt()
                raise

    def _take_over(self, retry_failed: bool) -> None:
        """Say that this driver is the study's now, and run again what was running."""
        history = self._history
        open_segments = list(history.open_segments())
        again = retry_failed or (history.halted is not None and self._must_retry())
        history.append(Opened(history.epoch + 1, again))
        self._turn([], [history.facts[-1]])
        for segment in open_segments:
            self._executor.submit(segment)
            if history.trials[segment.trial].stopping is not None:
                self._executor.cancel(*segment.key)

    def _must_retry(self) -> bool:
        """Whether it was the failed trials that halted the study, and not an interruption."""
        return halting(self._study, self._history) is not None

    def _is_over(self) -> bool:
        return self._history.state in ("finished", "halted")

    def _turn(self, messages: Iterable[Message], known: Sequence[Fact] = ()) -> None:
        """Take messages in, decide, commit, act."""
        first = len(self._history.facts) - len(known)
        for message in messages:
            self._record(message)
        self._note_time(is_news=len(self._history.facts) > first)
        decisions = self._deciding.decide(self._executor.slots)
        facts = self._history.facts[first:]
        if not facts:
            return
        self._opened.commit(facts)
        self._act(decisions)
        if self._observe is not None:
            self._observe(self._history, facts)

    def _note_time(self, *, is_news: bool) -> None:
        """Append the seconds spent when there is something to say them with, or they are over."""
        budget = self._study.budget
        if not budget.is_timed:
            return
        now = self._executor.now()
        elapsed = _rounded_up(now - self._began)
        worked = 0.0 if budget.trial_time is None else _rounded_up(self._worked)
        is_over = elapsed >= (budget.wall_clock or math.inf)
        if is_news or is_over or worked >= (budget.trial_time or math.inf):
            self._history.append(Elapsed(elapsed, worked))

    def _record(self, message: Message) -> None:
        if isinstance(message, Ended):
            outcome = settle(self._opened.store, message.outcome)
            record_outcome(self._study, self._history, outcome)
        else:
            record_report(self._history, message.trial, message.segment, message.report)

    def _act(self, decisions: Iterable[Fact]) -> None:
        for fact in decisions:
            if isinstance(fact, Launched):
                self._executor.submit(self._history.segment(self._history.trials[fact.trial]))
            elif isinstance(fact, Stopped) and fact.trial in self._history.running:
                trial = self._history.trials[fact.trial]
                self._executor.cancel(trial.number, trial.segment)

    def _wait(self) -> Sequence[Message]:
        """Wait for messages, and count how long trials were running meanwhile."""
        running, began = len(self._history.running), self._executor.now()
        with self._interrupts.allowed():
            messages = self._executor.wait(self._patience())
        self._worked += running * (self._executor.now() - began)
        return messages

    def _patience(self) -> float | None:
        """Return how many seconds to wait at most, though nothing is said."""
        least = min(self._time_left(), self._deciding.patience())
        return None if least == math.inf else max(least, 0.0)

    def _time_left(self) -> float:
        """Return in how many seconds a budget of time is over."""
        budget, running = self._study.budget, len(self._history.running)
        if not budget.is_timed or self._history.finished is not None:
            return math.inf
        driving = (budget.wall_clock or math.inf) - (self._executor.now() - self._began)
        trials = ((budget.trial_time or math.inf) - self._worked) / max(running, 1)
        return min(driving, trials)

    def _halt(self) -> None:
        """Leave a study that says it was interrupted; its open segments stay open."""
        if not self._is_over():
            self._history.append(Halted("interrupted"))
            self._opened.commit([self._history.facts[-1]])


def _rounded_up(seconds: float) -> float:
    """Return seconds to the millisecond, so that a wait until the end of a budget ends it."""
    return math.ceil(seconds * 1000) / 1000
