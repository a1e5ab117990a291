"""Drive a study in rounds: decide, run a whole round, decide again.

Entry k of such a journal opens round k: it takes in the outcomes of round k - 1 in the order of
the trials, and launches what follows. It is a function of what is stored, so whoever writes it
writes the same bytes: a retried task, a twin, or another orchestrator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tuneflow.events import Elapsed, Opened
from tuneflow.executors.base import Ended, Executor, Message
from tuneflow.history import History
from tuneflow.interrupt import Interrupts
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import missing, read_outcome, settle, write_outcome
from tuneflow.recording import record_outcome
from tuneflow.stream import Observer
from tuneflow.study import decide, halting
from tuneflow.trial import Outcome, Segment, outcome_path


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        number: 0, 1, 2, …
        segments: what is to be run, in the order of the decisions.
        state: the state of the study after the decision; see `History.state`.
    """

    number: int
    segments: tuple[Segment, ...]
    state: str


def open_round(opened: OpenStudy, number: int, *, retry_failed: bool = False) -> Round:
    """Return a round; decide it, and commit it, if nobody has.

    Opening round k takes in the outcomes of round k - 1. A segment that has none counts as
    lost from then on, so call this when its workers are done or given up.

    Args:
        opened: the study, up to date.
        number: at most the number of rounds opened so far.
        retry_failed: when the round is new, try failed trials again first.
    """
    if number > opened.rounds:
        raise ValueError(f"round {number} cannot be opened before round {opened.rounds}")
    if number == opened.rounds:
        _decide(opened, number, retry_failed)
    return _round(opened, number)


def forget_failed(opened: OpenStudy, segment: tuple[int, int]) -> bool:
    """Forget the outcome of a failed or lost segment, so that it can be run again.

    Only while its round is open: once a later round has taken the outcome in, it stands.

    Returns whether there was such an outcome.
    """
    trial = opened.history.running.get(segment[0])
    path = outcome_path(*segment)
    if trial is None or trial.segment != segment[1]:
        return False
    data = opened.store.get_many([path])[0]
    if data is None or read_outcome(data, f"{opened.url}/{path}").failure is None:
        return False
    opened.store.delete([path])
    return True


def drive(
    opened: OpenStudy,
    executor: Executor,
    *,
    observe: Observer | None = None,
    hear: Callable[[Message], None] | None = None,
    retry_failed: bool = False,
    interrupts: Interrupts | None = None,
) -> None:
    """Run a study in rounds to its end, from wherever it stands.

    Takes the same arguments, and raises the same errors, as `tuneflow.stream.drive`; and
    ``hear``, which is told what the executor says while a round runs.
    """
    interrupts = interrupts or Interrupts()
    history = opened.history
    segments = _unfinished(opened)
    while True:
        if history.running:
            _run(opened, executor, segments, interrupts, hear)
        elif history.state == "finished" and not retry_failed:
            return
        first = len(history.facts)
        segments = list(open_round(opened, opened.rounds, retry_failed=retry_failed).segments)
        retry_failed = False
        if observe is not None:
            observe(history, history.facts[first:])
        if not history.running:
            return


def _decide(opened: OpenStudy, number: int, retry_failed: bool) -> None:
    """Take in the round before, decide the next one and commit it."""
    history = opened.history
    first = len(history.facts)
    if retry_failed or history.halted is not None:
        again = retry_failed or halting(opened.study, history) is not None
        history.append(Opened(history.epoch + 1, again))
    _take_in(opened)
    decide(opened.study, history)
    facts = history.facts[first:]
    if facts:
        opened.commit(facts, round_number=number)


def _run(
    opened: OpenStudy,
    executor: Executor,
    segments: list[Segment],
    interrupts: Interrupts,
    hear: Callable[[Message], None] | None,
) -> None:
    """Run the segments of a round, as many at once as there are slots."""
    most = opened.study.max_concurrent or math.inf
    waiting = segments[::-1]
    running = 0
    while waiting or running:
        while waiting and running < min(executor.slots, most):
            executor.submit(waiting.pop())
            running += 1
        with interrupts.allowed():
            messages = executor.wait(None)
        for message in messages:
            if hear is not None:
                hear(message)
            if isinstance(message, Ended):
                running -= 1
                settle(opened.store, message.outcome, is_stored=executor.stores_outcomes)


def _unfinished(opened: OpenStudy) -> list[Segment]:
    """Return the segments of the open round that have no outcome yet."""
    segments = list(opened.history.open_segments())
    stored = opened.store.get_many([outcome_path(*segment.key) for segment in segments])
    return [s for s, data in zip(segments, stored, strict=True) if data is None]


def _take_in(opened: OpenStudy) -> None:
    """Append the outcomes of the open round, in the order of the trials."""
    segments = sorted(opened.history.open_segments(), key=lambda segment: segment.key)
    outcomes = _outcomes(opened, segments)
    for outcome in outcomes:
        record_outcome(opened.study, opened.history, outcome)
    budget = opened.study.budget
    if outcomes and budget.is_timed:
        worked = _trial_time(opened.history, outcomes) if budget.trial_time is not None else 0.0
        opened.history.append(Elapsed(_elapsed(opened.history, outcomes), worked))


def _outcomes(opened: OpenStudy, segments: list[Segment]) -> list[Outcome]:
    paths = [outcome_path(*segment.key) for segment in segments]
    stored = opened.store.get_many(paths)
    return [
        write_outcome(opened.store, missing(segment))
        if data is None
        else read_outcome(data, f"{opened.url}/{path}")
        for segment, path, data in zip(segments, paths, stored, strict=True)
    ]


def _elapsed(history: History, outcomes: list[Outcome]) -> float:
    """Return the seconds spent: those in which some trial ran, whatever lies between them.

    Hours in which nobody drove the study, after a crash in the middle of a round, do not count.
    """
    spent, until = history.elapsed, 0.0
    for outcome in sorted(outcomes, key=lambda outcome: outcome.started):
        spent += max(outcome.ended - max(outcome.started, until), 0.0)
        until = max(until, outcome.ended)
    return round(spent, 3)


def _trial_time(history: History, outcomes: list[Outcome]) -> float:
    """Return the seconds that trials took, those of these outcomes included."""
    return round(history.trial_time + sum(o.ended - o.started for o in outcomes), 3)


def _round(opened: OpenStudy, number: int) -> Round:
    """Return a round as it was when it was opened."""
    if number >= opened.rounds:
        return Round(number, (), opened.history.state)
    end = opened.round_ends[number]
    history = opened.history
    if end < len(history.facts):
        history = opened.study.history()
        history.extend(opened.history.facts[:end])
    return Round(number, tuple(history.open_segments()), history.state)
