"""The deciding half of tuneflow, played by hand or against a formula, without any I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tuneflow.events import Fact, Launched
from tuneflow.history import History
from tuneflow.recording import record_outcome, record_report
from tuneflow.schedulers import FIFO, Scheduler
from tuneflow.searchers.random import Random
from tuneflow.space import Float, Space
from tuneflow.study import Study, decide
from tuneflow.trial import Failure, Outcome, Report, Resource, Status

SPACE = Space({"x": Float(0, 1)})
NAN = math.nan


def make_study(scheduler: Scheduler | None = None, **changes: Any) -> Study:
    """Return a small study; fields of it replaced."""
    fields = {
        "name": "study",
        "space": SPACE,
        "metric": "loss",
        "mode": "min",
        "searcher": Random(),
        "scheduler": scheduler or FIFO(max_resource=1),
    }
    return Study(**{**fields, **changes})


class Machine:
    """A study and its history; you say what its trials do."""

    def __init__(self, scheduler: Scheduler | None = None, *, slots: float = 64, **changes: Any):
        self.study = make_study(scheduler, **changes)
        self.history: History = self.study.history()
        self.slots = slots

    def decide(self) -> list[Fact]:
        return decide(self.study, self.history, self.slots)

    def launched(self) -> list[tuple[int, Resource | None]]:
        """Decide, and return which trial was launched up to which level."""
        return [(f.trial, f.until) for f in self.decide() if isinstance(f, Launched)]

    def report(
        self,
        trial: int,
        level: Resource,
        value: float | Mapping[str, float] | None,
        saved: bool = True,
    ) -> None:
        segment = self.history.trials[trial].segment
        record_report(self.history, trial, segment, make_report(trial, level, value, saved))

    def close(self, trial: int, status: Status = "paused") -> None:
        failure = Failure("lost", "gone") if status == "lost" else None
        failure = Failure("ValueError", "no") if status == "failed" else failure
        segment = self.history.trials[trial].segment
        record_outcome(self.study, self.history, Outcome(trial, segment, status, (), failure))

    def pause(self, trial: int, value: float | None, saved: bool = True) -> None:
        """Let a trial report at the level that it was launched to, and pause there."""
        self.report(trial, self.history.trials[trial].until or 1, value, saved)
        self.close(trial)

    def run(self, curve: Callable[[int, Resource], float | None]) -> History:
        """Let every trial do as ``curve(trial, level)`` says; None fails it."""
        while True:
            self.decide()
            if not self.history.running:
                return self.history
            number = next(iter(self.history.running))
            value = curve(number, self.history.trials[number].until or 1)
            if value is None:
                self.close(number, "failed")
            else:
                self.pause(number, value)

    def levels(self) -> list[list[Resource]]:
        """Return the levels that each trial reported at."""
        return [[report.resource for report in trial.reports] for trial in self.history.trials]

    def rebuilt(self) -> History:
        history = self.study.history()
        history.extend(self.history.facts)
        return history


def make_report(
    trial: int, level: Resource, value: float | Mapping[str, float] | None, saved: bool = True
) -> Report:
    metrics = {} if value is None else {"loss": value} if isinstance(value, int | float) else value
    return Report(level, metrics, f"ckpt/{trial}-{level}" if saved else None)
