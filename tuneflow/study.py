"""A study, and the one function that decides what it does next.

A report's way: a worker's message becomes facts (`record_report`, `record_outcome`), the facts
are appended to the history, `decide` appends what follows from them, and the driver commits all
of it to the journal in one entry before it hands the launched segments out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Exhausted, Fact, Finished, Halted, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.schedulers.base import Clone, Decision, Resume, Scheduler, Start, Stop
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.trial import Failure, Mode, Outcome, Report, Resource, Trial, TrialState

_HOPELESS = 20
"""After so many failed trials and no usable value, the study is halted."""


@dataclass(frozen=True)
class Study:
    """One tuning problem, complete and frozen.

    Args:
        name: the study's name; with the storage it makes the study's URL.
        space: what is searched.
        metric: the metric that reports carry and that is optimised.
        mode: "min" or "max".
        searcher: proposes configurations.
        scheduler: allocates resource.
        objective: JSON that says how to load the objective; see `tuneflow.objective`.
        trials: how many trials there are in all; None leaves the end to the searcher or the
            budget.
        seed: every random choice of the study follows from it. Default 0.
        round_size: None streams: decisions are made as reports arrive. A number, or "all",
            makes rounds: at most that many segments, and a barrier after them.
        max_concurrent: how many segments may run at once, or None. A round may be larger.
            Default None.
        budget: when the study ends early.
        resources: what one trial occupies: ``cpu``, ``gpu`` (fractions too), ``memory``.
    """

    name: str
    space: Space
    metric: str
    mode: Mode
    searcher: Searcher
    scheduler: Scheduler
    objective: Mapping[str, Any] = field(default_factory=dict)
    trials: int | None = None
    seed: int = 0
    round_size: int | Literal["all"] | None = None
    max_concurrent: int | None = None
    budget: Budget = field(default_factory=Budget)
    resources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise SpecError("mode", f"{self.mode!r} is neither 'min' nor 'max'")
        if not self.metric:
            raise SpecError("metric", "the name of the metric is empty")
        for name in ("trials", "max_concurrent", "round_size"):
            value = getattr(self, name)
            if value is None or (name == "round_size" and value == "all"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(name, f"{value!r} is not a whole number of 1 or more")
        self.searcher.check(self.space)
        self.scheduler.check(self.space)
        self._check_end()

    def _check_end(self) -> None:
        if self.is_bounded or (self.budget.ends and self.round_size != "all"):
            return
        raise SpecError(
            "trials",
            "nothing says when this study ends",
            "give a number of trials, or a budget of wall_clock, trial_time or total_resource",
        )

    @cached_property
    def is_bounded(self) -> bool:
        """Whether there is an end to the number of trials."""
        return self.trial_limit is not None or self.searcher.trials(self.space) is not None

    @cached_property
    def trial_limit(self) -> int | None:
        """How many trials there may be; None when only the searcher or the budget knows."""
        if self.trials is None and self.searcher.trials(self.space) is None:
            return self.scheduler.default_trials
        return self.trials

    @property
    def in_rounds(self) -> bool:
        """Whether this study runs in rounds, with a barrier after each."""
        return self.round_size is not None

    def history(self) -> History:
        """Return the empty history of this study."""
        return History(self.metric, self.mode, self.seed, self.scheduler.limit)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, which is stored as study.json."""
        return {
            "name": self.name,
            "objective": dict(self.objective),
            "space": self.space.to_json(),
            "metric": self.metric,
            "mode": self.mode,
            "searcher": self.searcher.to_json(),
            "scheduler": self.scheduler.to_json(),
            "trials": self.trials,
            "seed": self.seed,
            "round_size": self.round_size,
            "max_concurrent": self.max_concurrent,
            "budget": self.budget.to_json(),
            "resources": dict(self.resources),
        }


def decide(study: Study, history: History, slots: float = math.inf) -> list[Fact]:
    """Append what follows from the history to it, and return just that.

    Args:
        study: the spec.
        history: everything so far; it is added to.
        slots: how many segments may run at once. Infinity (the default) gives a whole round.

    The result is a function of the arguments alone: no clock, no I/O, no global generator.
    """
    first = len(history.facts)
    if history.finished is None and history.halted is None:
        _decide(study, history, slots)
    return history.facts[first:]


def _decide(study: Study, history: History, slots: float) -> None:
    reason = halting(study, history)
    if reason is not None:
        history.append(Halted(reason))
        return
    ending = study.budget.ending(history)
    if ending is not None:
        _finish(history, ending)
        return
    _allocate(study, history, min(slots, _room(study)))


def halting(study: Study, history: History) -> str | None:
    """Return why the study must wait for its user, or None."""
    reason = study.budget.halting(history)
    if reason is None and _is_hopeless(study, history):
        reason = f"{history.failed_since_opened} trials failed, and none has a usable value"
    return reason


def _is_hopeless(study: Study, history: History) -> bool:
    """Whether it must be the study that is wrong, and not its trials."""
    if study.budget.max_failures is not None or history.best_loss < math.inf:
        return False
    return history.failed_since_opened >= _HOPELESS


def _room(study: Study) -> float:
    size = study.round_size if study.in_rounds else study.max_concurrent
    return size if isinstance(size, int) else math.inf


def _finish(history: History, reason: str) -> None:
    for trial in list(history.running.values()):
        if trial.stopping is None:
            history.append(Stopped(trial.number, reason))
    history.append(Finished(reason))


def _allocate(study: Study, history: History, slots: float) -> None:
    """Ask for decisions and carry them out until the slots are full or there are no more."""
    reason = None
    while True:
        decision = _next(study, history)
        if decision is None:
            break
        if isinstance(decision, Stop):
            history.append(Stopped(decision.trial, decision.reason))
        elif len(history.running) >= slots:
            return
        elif not _launch(study, history, decision):
            reason = f"the total resource has too little left: {history.spent:g} units are spent"
            break
    if not history.running:
        _finish(history, reason or history.exhausted or "there is nothing left to run")


def _next(study: Study, history: History) -> Decision | None:
    """Return the next decision: stops need no slot, then come retries, then launches."""
    decision = study.scheduler.next(history)
    if history.retries and not isinstance(decision, Stop):
        trial = next(iter(history.retries.values()))
        return Resume(trial.number, trial.until)
    return decision


def _launch(study: Study, history: History, decision: Start | Resume | Clone) -> bool:
    """Append the launch that a decision asks for; False when the budget does not afford it."""
    if isinstance(decision, Start):
        fact = _start(study, history, decision)
    elif isinstance(decision, Resume):
        fact = _resume(study, history, decision)
    else:
        fact = _clone(study, history, decision)
    if isinstance(fact, Launched) and not _affords(study, history, fact):
        return False
    history.append(fact)
    return True


def _start(study: Study, history: History, decision: Start) -> Launched | Exhausted:
    number = len(history.trials)
    limit = study.trial_limit
    if limit is not None and number >= limit:
        return Exhausted(f"all {limit} trials are done")
    params = study.searcher.suggest(study.space, history)
    if params is None:
        return Exhausted("the searcher has no more configurations")
    until = _until(study, 0, decision.until)
    return Launched(number, 0, until, params=params, bracket=decision.bracket)


def _resume(study: Study, history: History, decision: Resume) -> Launched:
    trial = _paused(history, decision.trial)
    is_retry = trial.number in history.retries
    return Launched(
        trial.number,
        trial.segment + 1,
        decision.until if is_retry else _until(study, trial.resource, decision.until),
        start=trial.checkpoint_resource,
        checkpoint=trial.checkpoint,
        attempt=trial.attempt + 1 if is_retry else 0,
    )


def _clone(study: Study, history: History, decision: Clone) -> Launched:
    trial, source = _paused(history, decision.trial), history.trials[decision.source]
    segment = trial.segment + 1
    rng = generator(history.seed, "explore", trial.number, segment)
    return Launched(
        trial.number,
        segment,
        _until(study, source.checkpoint_resource, decision.until),
        start=source.checkpoint_resource,
        checkpoint=source.checkpoint,
        params=study.scheduler.explore(source.params, study.space, rng),
        source=source.number,
    )


def _paused(history: History, number: int) -> Trial:
    trial = history.trials[number]
    if trial.state is not TrialState.PAUSED:
        raise RuntimeError(f"the scheduler launched trial {number}, which is {trial.state}")
    return trial


def _until(study: Study, resource: Resource, until: Resource | None) -> Resource | None:
    return study.scheduler.horizon(resource, until) if study.in_rounds else until


def _affords(study: Study, history: History, fact: Launched) -> bool:
    if fact.until is None:
        return True
    is_new_ground = fact.trial == len(history.trials) or fact.source is not None
    reached = fact.start if is_new_ground else history.trials[fact.trial].resource
    return study.budget.affords(history, fact.until - reached)


def record_report(history: History, trial: int, segment: int, report: Report) -> None:
    """Append a worker's report, unless it is known already or comes from a segment that is over.

    A segment that had to begin anew repeats levels; each level counts once.
    """
    known = history.running.get(trial)
    if known is None or known.segment != segment or report.resource <= known.resource:
        return
    history.append(Reported(trial, report))


def record_outcome(study: Study, history: History, outcome: Outcome) -> None:
    """Append what an outcome says: the reports not known yet, and how the segment closed."""
    trial = history.running.get(outcome.trial)
    if trial is None or trial.segment != outcome.segment:
        return
    for report in outcome.reports:
        record_report(history, outcome.trial, outcome.segment, report)
    if _is_at_end(history, trial, outcome) and history.trial_loss(trial) == math.inf:
        history.append(Closed(trial.number, "failed", _unusable(history, trial)))
        return
    retry = trial.stopping is None and _is_retried(study.budget, trial, outcome.status)
    failure = _without_traceback(outcome.failure)
    history.append(Closed(trial.number, outcome.status, failure, retry))


def _is_at_end(history: History, trial: Trial, outcome: Outcome) -> bool:
    limit = history.max_resource
    is_at_maximum = limit is not None and trial.resource >= limit
    return outcome.status == "completed" or (outcome.status == "paused" and is_at_maximum)


def _unusable(history: History, trial: Trial) -> Failure:
    value = trial.latest(history.metric)
    if value is None:
        return Failure("metric", f"no report has '{history.metric}'")
    return Failure("metric", f"{history.metric} is {value}, never a finite number")


def _without_traceback(failure: Failure | None) -> Failure | None:
    """Leave the traceback in the outcome: the journal is read whole, and names no host."""
    return Failure(failure.kind, failure.message) if failure else None


def _is_retried(budget: Budget, trial: Trial, status: str) -> bool:
    if status == "failed":
        return trial.failures < budget.max_failures_per_trial
    return status == "lost" and trial.losses < budget.max_losses_per_trial
