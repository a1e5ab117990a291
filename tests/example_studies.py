"""Studies that tests look at, played by the real machine with an objective that is a formula."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.events import Fact
from tuneflow.history import History
from tuneflow.recording import record_outcome, record_report
from tuneflow.schedulers.asha import ASHA
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher, sampled
from tuneflow.space import Space
from tuneflow.study import Study, decide
from tuneflow.trial import Failure, Outcome, Params, Report, Segment, Status, checkpoint_ref

SPACE = Space(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "layers": {"type": "int", "low": 1, "high": 6},
        "act": {"type": "categorical", "choices": ["relu", "tanh", "gelu"]},
        "opt": {"momentum": {"type": "float", "low": 0.0, "high": 0.99}, "seed": 7},
    }
)
BEGAN = 1_790_000_000.0
"""When played studies begin, in seconds since the epoch."""

Objective = Callable[[Params, int], float]
"""Returns the metric of a configuration at a level, or raises."""


@dataclass(frozen=True, kw_only=True)
class Draw(Searcher):
    """Proposes at random; has no end."""

    type: ClassVar[str] = "draw"

    def propose(self, space: Space, history: History, rng: random.Random) -> Params | None:
        return space.build(sampled(rng))


def accuracy(params: Params, level: int) -> float:
    """Return a learning curve that rises to what the parameters allow."""
    off = abs(math.log10(params["lr"]) + 2) / 2 + abs(params["layers"] - 4) / 8
    ceiling = 0.99 - 0.3 * off - 0.02 * params["opt"]["momentum"]
    return ceiling - 0.5 * math.exp(-level / 4)


def make_study(**changes: Any) -> Study:
    """Return a study of 30 trials with ASHA, fields of it replaced."""
    fields: dict[str, Any] = {
        "name": "digits",
        "space": SPACE,
        "metric": "accuracy",
        "mode": "max",
        "searcher": Draw(),
        "scheduler": ASHA(max_resource=27, reduction_factor=3),
        "objective": {"import": "train.py:train"},
        "trials": 30,
        "seed": 1,
    }
    return Study(**{**fields, **changes})


@dataclass
class Played:
    """A study that was played, its history, and what its workers left."""

    study: Study
    history: History
    outcomes: list[Outcome]


def play(
    study: Study | None = None,
    objective: Objective = accuracy,
    *,
    workers: int = 4,
    observe: Callable[[History, list[Fact]], None] | None = None,
    segments: int | None = None,
) -> Played:
    """Run a study without waiting for anything.

    Args:
        study: the study. Default: `make_study()`.
        objective: the metric as a formula.
        workers: how many segments run at once.
        observe: called with the history and the new facts after each turn.
        segments: stop to take in results after so many, and leave the rest running.
    """
    study = study or make_study()
    history = study.history()
    ended: list[Outcome] = []
    queue: list[tuple[float, int, Outcome]] = []
    free = list(range(workers))[::-1]
    launched: set[tuple[int, int]] = set()
    now, known = BEGAN, 0
    while True:
        decide(study, history, workers)
        for segment in list(history.open_segments()):
            if segment.key not in launched:
                launched.add(segment.key)
                worker = free.pop()
                outcome = _run(segment, objective, now, f"tcp://10.0.0.{worker}:40123")
                heapq.heappush(queue, (outcome.ended, worker, outcome))
        if observe is not None:
            observe(history, history.facts[known:])
        known = len(history.facts)
        if not queue or len(ended) == segments:
            return Played(study, history, ended)
        now, worker, outcome = heapq.heappop(queue)
        free.append(worker)
        ended.append(_take_in(study, history, outcome))


def _take_in(study: Study, history: History, outcome: Outcome) -> Outcome:
    """Report level by level, as a worker does, so that a running trial can be stopped."""
    for position, report in enumerate(outcome.reports, start=1):
        record_report(history, outcome.trial, outcome.segment, report)
        decide(study, history, len(history.running))
        if history.trials[outcome.trial].stopping is not None:
            outcome = _cut(outcome, position)
            break
    record_outcome(study, history, outcome)
    return outcome


def _cut(outcome: Outcome, count: int) -> Outcome:
    reports = outcome.reports[:count]
    return Outcome(
        outcome.trial,
        outcome.segment,
        "stopped",
        reports,
        started=outcome.started,
        ended=reports[-1].time,
        worker=outcome.worker,
    )


def _run(segment: Segment, objective: Objective, now: float, worker: str) -> Outcome:
    pace = 1.0 + segment.trial % 5 / 4
    levels = range(int(segment.start) + 1, int(segment.until or 27) + 1)
    reports: list[Report] = []
    status: Status = "completed" if segment.until is None else "paused"
    failure = None
    try:
        for level in levels:
            value = objective(segment.params, level)
            checkpoint = None
            if level == levels[-1]:
                checkpoint = checkpoint_ref(segment.trial, segment.segment, level)
            time = now + pace * (level - segment.start)
            reports.append(Report(level, {"accuracy": value, "loss": 1 - value}, checkpoint, time))
    except (RuntimeError, ValueError) as error:
        status = "failed"
        failure = Failure(type(error).__name__, str(error), f"Traceback …\n{error!r}")
    ended = now + pace * (len(reports) + (failure is not None))
    return Outcome(
        segment.trial, segment.segment, status, tuple(reports), failure, now, ended, worker
    )


def schedulers() -> Iterator[Scheduler]:
    """Yield one scheduler of each kind that has rungs."""
    from tuneflow.schedulers.halving import SuccessiveHalving
    from tuneflow.schedulers.hyperband import Hyperband

    yield ASHA(max_resource=27, reduction_factor=3)
    yield ASHA(max_resource=27, reduction_factor=3, variant="stopping", brackets=2)
    yield SuccessiveHalving(max_resource=27)
    yield Hyperband(max_resource=27)
