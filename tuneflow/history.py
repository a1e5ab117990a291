"""The history of a study: an append-only list of facts, and what follows from it.

`History` is the only state there is. Appending a fact folds it into the trials, the counts and
the indexes, each in about constant time, so that a study of 100,000 trials costs per trial what
a small one does. Schedulers and searchers read it and keep nothing of their own; what they need
beyond it they keep in an `Index`, which is a function of the facts and is rebuilt from them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from tuneflow.errors import CorruptError
from tuneflow.events import (
    Closed,
    Elapsed,
    Exhausted,
    Fact,
    Finished,
    Halted,
    Launched,
    Opened,
    Reported,
    Stopped,
)
from tuneflow.goals import Objectives, losses, parse_constraints, violation
from tuneflow.index import Index
from tuneflow.pareto import front
from tuneflow.trial import Mode, Report, Resource, Segment, Trial, TrialState

_I = TypeVar("_I", bound=Index)


class History:
    """All that has happened in a study.

    Args:
        metric: name of the metric that is optimised; of several, the primary one.
        mode: "min" or "max".
        seed: the study's seed; decisions derive their generators from it.
        max_resource: the level at which a trial is complete, or None.
        other_metrics: what is optimised beside it, each with its mode.
        constraints: bounds on metrics that are to be kept, each like ``latency_ms <= 100``.
        resources: what a trial occupies unless its segment says otherwise.
        trial_limit: how many trials there may be; None when that is not known beforehand.

    Attributes:
        objectives: every metric that is optimised, with its mode; the primary one first.
        facts: every fact, oldest first.
        trials: every trial; its position is its number.
        running: the trials with an open segment, in the order of their launch.
        retries: the paused trials whose last segment is to be launched once more.
        counts: how many trials are in each state.
        exhausted: why there will be no new trial, or None.
        finished: why nothing more will be launched, or None.
        halted: why nothing is launched until a driver opens the study again, or None.
        epoch: number of the newest driver; 0 before the first.
        elapsed: seconds spent so far, known only under a budget of time.
        trial_time: seconds that trials took so far, added up, known only where they are limited.
        spent: resource units reported so far, over all trials.
        failed_since_opened: trials that failed for good since the study was last opened.
        late: trials whose configuration was drawn at random because the searcher took too long.
        is_usable: whether any report ever had a finite value of the primary metric.
    """

    def __init__(
        self,
        metric: str,
        mode: Mode,
        seed: int = 0,
        max_resource: Resource | None = None,
        *,
        other_metrics: Mapping[str, Mode] | None = None,
        constraints: Sequence[str] = (),
        resources: Mapping[str, Any] | None = None,
        trial_limit: int | None = None,
    ) -> None:
        self.metric = metric
        self.mode = mode
        self.seed = seed
        self.max_resource = max_resource
        self.resources = resources or {}
        self.trial_limit = trial_limit
        self.objectives: Objectives = ((metric, mode), *(other_metrics or {}).items())
        self.constraints = parse_constraints(constraints)
        self.facts: list[Fact] = []
        self.trials: list[Trial] = []
        self.running: dict[int, Trial] = {}
        self.retries: dict[int, Trial] = {}
        self.counts: Counter[TrialState] = Counter()
        self.exhausted: str | None = None
        self.finished: str | None = None
        self.halted: str | None = None
        self.epoch = 0
        self.elapsed = 0.0
        self.trial_time = 0.0
        self.spent: Resource = 0
        self.failed_since_opened = 0
        self.late = 0
        self.closings = 0
        self.is_usable = False
        self._best = math.inf
        self._best_closings = 0
        self._improving: int | None = None
        self._indexes: dict[Hashable, Index] = {}

    def append(self, fact: Fact) -> None:
        """Add a fact. Raises CorruptError when it cannot follow from the facts before it."""
        try:
            _FOLD[type(fact)](self, fact)
        except (IndexError, KeyError) as error:
            raise CorruptError(f"{fact} cannot follow what came before it") from error
        self.facts.append(fact)
        for index in self._indexes.values():
            index.apply(fact)

    def extend(self, facts: Iterable[Fact]) -> None:
        """Add several facts in order."""
        for fact in facts:
            self.append(fact)

    def index(self, key: Hashable, make: Callable[[], _I]) -> _I:
        """Return the index of this key; a new one is made and fed the facts so far."""
        found = self._indexes.get(key)
        if found is None:
            found = self._indexes[key] = make()
            for fact in self.facts:
                found.apply(fact)
        return cast("_I", found)

    def loss(self, metrics: Mapping[str, float]) -> float:
        """Return the metric as a number to be made small; infinity when it cannot be used.

        A missing metric, NaN and both infinities are unusable: each ranks last, is never
        promoted and is never the best.
        """
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self.mode == "max" else value

    def trial_loss(self, trial: Trial) -> float:
        """Return the primary loss of a trial's newest usable report; infinity when it has none."""
        return self.trial_losses(trial)[0]

    def losses(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """Return a loss for each objective; all infinity when one of them cannot be used."""
        return losses(self.objectives, metrics)

    def usable_report(self, trial: Trial) -> Report | None:
        """Return a trial's newest report with all objectives.

        Reports from before a clone do not count: other parameters made them.
        """
        for position in range(len(trial.reports) - 1, trial.outdated - 1, -1):
            report = trial.reports[position]
            if self.losses(report.metrics)[0] < math.inf:
                return report
        return None

    def trial_losses(self, trial: Trial) -> tuple[float, ...]:
        """Return the losses of a trial's newest usable report; all infinity when it has none."""
        report = self.usable_report(trial)
        return self.losses({} if report is None else report.metrics)

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Return by how much metrics break the bounds that are set for them, added up.

        It is 0 when all are kept, and infinity when a metric that has a bound is missing or NaN.
        """
        return violation(self.constraints, metrics)

    def trial_violation(self, trial: Trial) -> float:
        """Return the violation of a trial's newest usable report; infinity when it has none."""
        report = self.usable_report(trial)
        return math.inf if report is None else self.violation(report.metrics)

    def best(self) -> Trial | None:
        """Return the trial whose newest usable value is best, the earlier one among equals.

        Of several metrics the primary one is compared, and the next one where that is equal, so
        that the best is in the Pareto front. A value counts for the parameters that made it: a
        trial that was cloned into and has reported nothing since has none. Trials that failed or
        break a bound do not count. None when no trial is left.
        """
        return min(self._feasible(), key=self.trial_losses, default=None)

    def pareto_front(self) -> list[Trial]:
        """Return the trials that no other betters in one metric without losing in another.

        Like `best` it looks at newest usable reports, and leaves out trials that failed or break a
        bound. Equal trials are all in it; they are in the order of their numbers.
        """
        candidates = list(self._feasible())
        chosen = front([self.trial_losses(trial) for trial in candidates])
        return [candidates[position] for position in chosen]

    def _feasible(self) -> Iterator[Trial]:
        unfailed = (trial for trial in self.trials if trial.state is not TrialState.FAILED)
        return (trial for trial in unfailed if self.trial_violation(trial) == 0)

    @property
    def best_loss(self) -> float:
        """The smallest loss that any report ever had that keeps the bounds; else infinity."""
        return self._best

    @property
    def closings_since_best(self) -> int:
        """How many segments have closed since the one in which `best_loss` last fell."""
        return self.closings - self._best_closings

    @property
    def state(self) -> str:
        """One word: "new", "running", "halted", "finishing" or "finished"."""
        if self.finished is not None:
            return "finishing" if self.running else "finished"
        if self.halted is not None:
            return "halted"
        return "running" if self.facts else "new"

    def segment(self, trial: Trial) -> Segment:
        """Return the latest segment of a trial, as its worker is to run it."""
        return Segment(
            trial=trial.number,
            segment=trial.segment,
            params=trial.params,
            start=trial.start,
            until=trial.until,
            checkpoint=trial.origin,
            max_resource=self.max_resource,
            attempt=trial.attempt,
            resources=trial.resources,
            since=trial.since,
        )

    def open_segments(self) -> Iterator[Segment]:
        """Yield the segments that are launched and have no outcome, in the order of launch."""
        return (self.segment(trial) for trial in self.running.values())

    # Each of the following folds one kind of fact.

    def _launched(self, fact: Launched) -> None:
        if fact.trial == len(self.trials):
            trial = Trial(fact.trial, cast("dict[str, Any]", fact.params), fact.bracket)
            self.trials.append(trial)
            self.late += fact.late
        else:
            trial = self._paused(fact.trial)
            self.counts[trial.state] -= 1
            self.retries.pop(trial.number, None)
        if fact.params is not None:
            trial.params, trial.outdated = fact.params, len(trial.reports)
            trial.since = fact.segment
        if fact.source is not None:
            # The step count follows the donor, so that the levels after it are new ones.
            trial.resource = fact.start
            trial.source, trial.outdated = fact.source, len(trial.reports)
            trial.since = fact.segment
        trial.state = TrialState.RUNNING
        trial.segment, trial.until = fact.segment, fact.until
        trial.start, trial.attempt = fact.start, fact.attempt
        trial.resources = fact.resources
        trial.origin = trial.checkpoint = fact.checkpoint
        trial.checkpoint_resource = fact.start
        self.counts[TrialState.RUNNING] += 1
        self.running[trial.number] = trial

    def _reported(self, fact: Reported) -> None:
        trial, report = self.running[fact.trial], fact.report
        self.spent += max(report.resource - trial.resource, 0)
        trial.resource = report.resource
        trial.losses = 0
        trial.reports.append(report)
        if report.checkpoint is not None:
            trial.checkpoint, trial.checkpoint_resource = report.checkpoint, report.resource
        loss = self.loss(report.metrics)
        self.is_usable |= loss < math.inf
        if loss < self._best and not self.violation(report.metrics):
            self._best, self._best_closings = loss, self.closings
            self._improving = fact.trial

    def _stopped(self, fact: Stopped) -> None:
        trial = self.trials[fact.trial]
        trial.stopping = fact.reason
        if trial.state is TrialState.PAUSED:
            self.retries.pop(trial.number, None)
            self._move(trial, TrialState.STOPPED)

    def _closed(self, fact: Closed) -> None:
        trial = self.running.pop(fact.trial)
        self.closings += 1
        if fact.trial == self._improving:
            self._best_closings, self._improving = self.closings, None
        trial.failure = fact.failure
        trial.failures += fact.status == "failed"
        trial.losses += fact.status == "lost"
        if fact.retry:
            self.retries[trial.number] = trial
        self._move(trial, self._closed_state(trial, fact))
        if trial.state is TrialState.FAILED:
            self.failed_since_opened += 1

    def _closed_state(self, trial: Trial, fact: Closed) -> TrialState:
        if fact.status == "completed":
            return TrialState.COMPLETED
        if fact.status == "paused" and self._is_at_maximum(trial):
            return TrialState.COMPLETED
        if trial.stopping is not None:
            return TrialState.STOPPED
        if fact.status in ("failed", "lost"):
            return TrialState.PAUSED if fact.retry else TrialState.FAILED
        return TrialState.PAUSED

    def _is_at_maximum(self, trial: Trial) -> bool:
        return self.max_resource is not None and trial.resource >= self.max_resource

    def _opened(self, fact: Opened) -> None:
        self.epoch = fact.epoch
        self.halted = None
        self.failed_since_opened = 0
        if fact.retry_failed:
            for trial in self.trials:
                if trial.state is TrialState.FAILED:
                    trial.failures = trial.losses = 0
                    self.retries[trial.number] = trial
                    self._move(trial, TrialState.PAUSED)
            self.finished = None if self.retries else self.finished

    def _exhausted(self, fact: Exhausted) -> None:
        self.exhausted = fact.reason

    def _finished(self, fact: Finished) -> None:
        self.finished = fact.reason
        for trial in self.trials:
            if trial.state is TrialState.PAUSED:
                trial.stopping = fact.reason
                self._move(trial, TrialState.STOPPED)
        self.retries.clear()

    def _halted(self, fact: Halted) -> None:
        self.halted = fact.reason

    def _elapsed(self, fact: Elapsed) -> None:
        self.elapsed, self.trial_time = fact.seconds, fact.trial_time

    def _paused(self, number: int) -> Trial:
        trial = self.trials[number]
        if trial.state is not TrialState.PAUSED:
            raise KeyError(number)
        return trial

    def _move(self, trial: Trial, state: TrialState) -> None:
        self.counts[trial.state] -= 1
        self.counts[state] += 1
        trial.state = state


_FOLD: dict[type[Any], Callable[[History, Any], None]] = {
    Launched: History._launched,
    Reported: History._reported,
    Stopped: History._stopped,
    Closed: History._closed,
    Opened: History._opened,
    Exhausted: History._exhausted,
    Finished: History._finished,
    Halted: History._halted,
    Elapsed: History._elapsed,
}
