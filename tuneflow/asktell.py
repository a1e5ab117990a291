"""Ask and tell: for people who own their loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneflow.errors import SpecError, did_you_mean
from tuneflow.events import Launched, Opened
from tuneflow.objective.metrics import to_metrics
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import write_outcome
from tuneflow.recording import record_outcome
from tuneflow.result import Result
from tuneflow.study import decide
from tuneflow.trial import Failure, Outcome, Report, Resource, Segment, Status


class AskTellStudy:
    """A study that is driven by your own code.

        study = tuneflow.create_study(space=…, metric="loss", mode="min", trials=20)
        while (trial := study.ask()) is not None:
            study.tell(trial, loss_of(trial.params))

    It stands on the same journal as any other study: it can be watched and reported on, and
    when it is created again after a crash it goes on. A trial that was asked for and never told
    is handed out again.
    """

    def __init__(self, opened: OpenStudy) -> None:
        self._opened = opened
        self._history = opened.history
        self._again = list(opened.history.open_segments())
        if self._history.state != "finished":
            self._history.append(Opened(self._history.epoch + 1, self._history.halted is not None))
            opened.commit([self._history.facts[-1]])

    @property
    def url(self) -> str:
        """The study's URL."""
        return self._opened.url

    @property
    def result(self) -> Result:
        """What the study has found so far."""
        return Result(self._opened)

    def ask(self) -> Segment | None:
        """Return what to run next: ``params``, and ``until`` which resource level.

        None when there is nothing to run at present: the study is finished, or its scheduler
        waits for trials that were asked for and not told.
        """
        if self._again:
            return self._again.pop(0)
        facts = decide(self._opened.study, self._history, len(self._history.running) + 1)
        if facts:
            self._opened.commit(facts)
        launched = [fact for fact in facts if isinstance(fact, Launched)]
        return self._history.segment(self._history.trials[launched[0].trial]) if launched else None

    def tell(
        self,
        trial: Segment | int,
        value: float | Mapping[str, float] | None = None,
        *,
        resource: Resource | None = None,
        failed: str | None = None,
    ) -> None:
        """Say how a trial went, and end its segment.

        Args:
            trial: what `ask` returned, or its number.
            value: the metric, or a mapping of metrics.
            resource: the level that it was reached at. Default: the segment's ``until``, or 1.
            failed: one sentence, when the trial failed; ``value`` is left out then.

        Raises:
            SpecError: the trial is not running, neither or both of value and failed are given, or
                the value is no number or lacks a metric that is optimised.
        """
        segment = self._running(trial)
        if (value is None) == (failed is None):
            raise SpecError("tell", 'give either a value or failed="why"')
        outcome = self._outcome(segment, value, resource, failed)
        first = len(self._history.facts)
        stored = write_outcome(self._opened.store, outcome)
        record_outcome(self._opened.study, self._history, stored)
        self._opened.commit(self._history.facts[first:])

    def _running(self, trial: Segment | int) -> Segment:
        number = trial if isinstance(trial, int) else trial.trial
        running = self._history.running.get(number)
        if running is None or (isinstance(trial, Segment) and trial.segment != running.segment):
            raise SpecError("trial", f"trial {number} is not running", "tell each asked trial once")
        return self._history.segment(running)

    def _outcome(
        self, segment: Segment, value: Any, resource: Resource | None, failed: str | None
    ) -> Outcome:
        if failed is not None:
            return Outcome(*segment.key, "failed", failure=Failure("told", failed))
        level = resource if resource is not None else segment.until or segment.start + 1
        if level <= segment.start:
            raise SpecError("resource", f"{level!r} is not above {segment.start!r}, the start")
        is_at_end = segment.until is not None and level >= segment.until
        status: Status = "paused" if is_at_end else "completed"
        return Outcome(*segment.key, status, (Report(level, self._metrics(value)),))

    def _metrics(self, value: Any) -> dict[str, float]:
        """Return what was told as metrics, the study's own among them."""
        try:
            metrics = to_metrics(value, self._history.metric, "tell() got")
        except TypeError as error:
            raise SpecError("tell", str(error)) from error
        for metric, _ in self._history.objectives:
            if metric not in metrics:
                near = did_you_mean(metric, metrics)
                raise SpecError("tell", f"the metric '{metric}' is not among what was told", near)
        return metrics
