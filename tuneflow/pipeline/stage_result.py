"""What a stage has come to: the outcomes that a round took in, and what it decided on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Self

from tuneflow.events import Closed, Elapsed, Fact, Launched, Opened, Reported, Stopped
from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.labels import parameters
from tuneflow.pipeline.launches import entry_of, launch_notes
from tuneflow.study import Study
from tuneflow.trial import Trial
from tuneflow.views.text import bounds

_ROWS = 100
"""Rows of a table, at most."""

_TAKEN_IN = (Opened, Reported, Closed, Elapsed)


@dataclass(frozen=True)
class StageResult:
    """A stage that is closed, as it was then, whatever has become of the study since.

    Attributes:
        study: the spec.
        history: what was known when the decision was made.
        closed: how each trial of the stage ended.
        decision: the facts that followed.
    """

    study: Study
    history: History
    closed: tuple[Closed, ...]
    decision: tuple[Fact, ...]

    @classmethod
    def read(cls, opened: OpenStudy, number: int) -> Self:
        """Return what the round before this one has come to; this one is open."""
        entry = entry_of(opened, number)
        taken_in = list(takewhile(lambda fact: isinstance(fact, _TAKEN_IN), entry))
        before = opened.round_ends[:number]
        history = opened.study.history()
        history.extend(opened.history.facts[: before[-1]] if before else ())
        history.extend(taken_in)
        closed = tuple(fact for fact in taken_in if isinstance(fact, Closed))
        return cls(opened.study, history, closed, tuple(entry[len(taken_in) :]))

    def to_json(self) -> dict[str, Any]:
        """Return which trials go on, were stopped and have failed, and the best one so far."""
        return {
            "promoted": [
                fact.trial
                for fact in self.decision
                if isinstance(fact, Launched) and _is_promotion(fact)
            ],
            "stopped": [fact.trial for fact in self.decision if isinstance(fact, Stopped)],
            "failed": [fact.trial for fact in self.closed if fact.failure is not None],
            "best": self._best(),
        }

    def table(self) -> str:
        """Return the trials of the stage as lines of text, best by the first metric on top."""
        trials = [self.history.trials[fact.trial] for fact in self.closed]
        trials.sort(key=lambda trial: (self.history.trial_loss(trial), trial.number))
        verdicts = self._verdicts()
        metrics = [metric for metric, _ in self.study.objectives]
        kept = ["bounds"] if self.study.constraints else []
        rows = [("trial", *metrics, "at", *kept, "verdict", "configuration")]
        rows += [self._row(t, verdicts.get(t.number, str(t.state))) for t in trials[:_ROWS]]
        more = [f"and {len(trials) - _ROWS} more"] if len(trials) > _ROWS else []
        return "\n".join([*_aligned(rows), *more])

    def _best(self) -> dict[str, Any] | None:
        best = self.history.best()
        if best is None:
            return None
        loss = self.history.trial_loss(best)
        value = -loss if self.study.mode == "max" else loss
        return {"trial": best.number, "value": value, "config": best.params}

    def _row(self, trial: Trial, verdict: str) -> tuple[str, ...]:
        values = (trial.latest(metric) for metric, _ in self.study.objectives)
        shown = ("" if value is None else f"{value:.6g}" for value in values)
        cells = [f"{trial.resource:g}"]
        if self.study.constraints:
            cells.append(bounds(self.history, trial))
        return str(trial.number), *shown, *cells, verdict, parameters(trial.params)

    def _verdicts(self) -> dict[int, str]:
        """Return what was decided on trials, where anything was."""
        stopped = {fact.trial: "stopped" for fact in self.decision if isinstance(fact, Stopped)}
        return stopped | launch_notes(self.decision, self.study.scheduler.resuming)


def _is_promotion(fact: Launched) -> bool:
    return fact.segment > 0 and fact.attempt == 0 and fact.source is None


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
