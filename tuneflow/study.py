"""A study, and the one function that decides what it does next.

A report's way: a worker's message becomes facts (`tuneflow.recording`), the facts are appended to
the history, `decide` appends what follows from them, and the driver commits all of it to the
journal in one entry before it hands the launched segments out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing
from tuneflow.errors import SpecError
from tuneflow.events import Exhausted, Fact, Finished, Halted, Launched, Stopped
from tuneflow.goals import Objectives, make_objectives, parse_constraints
from tuneflow.history import History
from tuneflow.rng import generator
from tuneflow.schedulers.base import Clone, Decision, Resume, Scheduler, Start, Stop
from tuneflow.searchers.base import LATER, Later, Searcher, Suggested, Suggestion
from tuneflow.space import Space
from tuneflow.stoppers.base import Stopper, horizon
from tuneflow.stoppers.verdicts import ending, next_stop
from tuneflow.trial import Mode, Resource, Trial, TrialState

_HOPELESS = 20
"""After so many failed trials and no usable value, the study is halted."""

Suggest: TypeAlias = Callable[[History, Resource | None], Suggested]
"""Says what a new trial is, given the history and the level at which it pauses first."""


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
        other_metrics: what is optimised beside ``metric``, each with its mode. Schedulers (but
            MO-ASHA), the budget and the best trial go by ``metric`` alone; what the others are
            for is the Pareto front. Default none.
        constraints: bounds on reported metrics, each like ``latency_ms <= 100``. A trial that
            breaks one is never the best, and not in the front. Default none.
        stop: what ends trials, or the study, beside the scheduler. Default nothing.
        checkpoints: when checkpoints are saved, and which are kept. Default: at each report, all.
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
    other_metrics: Mapping[str, Mode] = field(default_factory=dict)
    constraints: Sequence[str] = ()
    stop: tuple[Stopper, ...] = ()
    checkpoints: Checkpointing = field(default_factory=Checkpointing)

    def __post_init__(self) -> None:
        make_objectives(
            [self.metric, *self.other_metrics], [self.mode, *self.other_metrics.values()]
        )
        parse_constraints(self.constraints)
        for name in ("trials", "max_concurrent", "round_size"):
            value = getattr(self, name)
            if value is None or (name == "round_size" and value == "all"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise SpecError(name, f"{value!r} is not a whole number of 1 or more")
        self.searcher.check(self.space)
        self.searcher.check_goals(len(self.objectives), len(self.constraints))
        self.searcher.check_scheduler(self.scheduler)
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
    def objectives(self) -> Objectives:
        """Every metric that is optimised, with its mode; the primary one first."""
        return ((self.metric, self.mode), *self.other_metrics.items())

    @property
    def in_rounds(self) -> bool:
        """Whether this study runs in rounds, with a barrier after each."""
        return self.round_size is not None

    def prepare(self) -> None:
        """Import what deciding needs, before the study is created and any trial runs.

        Raises:
            MissingDependencyError: a package is not installed.
            SpecError: the function of a stopper cannot be imported.
        """
        self.searcher.prepare()
        self.scheduler.prepare()
        for stopper in self.stop:
            stopper.watch(self.history())

    def history(self) -> History:
        """Return the empty history of this study."""
        return History(
            self.metric,
            self.mode,
            self.seed,
            self.scheduler.limit,
            other_metrics=self.other_metrics,
            constraints=self.constraints,
            resources=self.resources,
            trial_limit=self.trial_limit or self.searcher.trials(self.space),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, which is stored as study.json."""
        names, modes = [self.metric, *self.other_metrics], [self.mode, *self.other_metrics.values()]
        data: dict[str, Any] = {
            "name": self.name,
            "objective": dict(self.objective),
            "space": self.space.to_json(),
            "metric": names if self.other_metrics else self.metric,
            "mode": modes if self.other_metrics else self.mode,
            "searcher": self.searcher.to_json(),
            "scheduler": self.scheduler.to_json(),
            "trials": self.trials,
            "seed": self.seed,
            "round_size": self.round_size,
            "max_concurrent": self.max_concurrent,
            "budget": self.budget.to_json(),
            "resources": dict(self.resources),
        }
        if self.constraints:
            data["constraints"] = list(self.constraints)
        if self.stop:
            data["stop"] = [stopper.to_json() for stopper in self.stop]
        if self.checkpoints != Checkpointing():
            data["checkpoints"] = self.checkpoints.to_json()
        return data


def decide(
    study: Study, history: History, slots: float = math.inf, suggest: Suggest | None = None
) -> list[Fact]:
    """Append what follows from the history to it, and return just that.

    Args:
        study: the spec.
        history: everything so far; it is added to.
        slots: how many segments may run at once. Infinity (the default) gives a whole round.
        suggest: says what a new trial is; `LATER` holds new trials back, and them alone. Default:
            the searcher is asked on the spot.

    The result is a function of the arguments alone: no clock, no I/O, no global generator.
    """
    first = len(history.facts)
    if history.finished is None and history.halted is None:
        _decide(study, history, slots, suggest or _on_the_spot(study))
    return history.facts[first:]


def _on_the_spot(study: Study) -> Suggest:
    """Return what asks the searcher."""

    def suggest(history: History, until: Resource | None) -> Suggested:
        proposed = study.searcher.suggest(study.space, history, until)
        if proposed is None or proposed is LATER:
            return proposed
        return Suggestion(proposed)

    return suggest


def _decide(study: Study, history: History, slots: float, suggest: Suggest) -> None:
    reason = halting(study, history)
    if reason is not None:
        history.append(Halted(reason))
        return
    reason = study.budget.ending(history) or ending(study.stop, history)
    if reason is not None:
        _finish(history, reason)
        return
    _allocate(study, history, min(slots, _room(study)), suggest)


def halting(study: Study, history: History) -> str | None:
    """Return why the study must wait for its user, or None."""
    reason = study.budget.halting(history)
    if reason is None and _is_hopeless(study, history):
        reason = f"{history.failed_since_opened} trials failed, and none has a usable value"
    return reason


def _is_hopeless(study: Study, history: History) -> bool:
    """Whether it must be the study that is wrong, and not its trials."""
    if study.budget.max_failures is not None or history.is_usable:
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


def _allocate(study: Study, history: History, slots: float, suggest: Suggest) -> None:
    """Ask for decisions and carry them out until the slots are full or there are no more."""
    reason = None
    while True:
        decision = _next(study, history)
        if decision is None:
            break
        if isinstance(decision, Stop):
            history.append(Stopped(decision.trial, decision.reason))
            continue
        if len(history.running) >= slots:
            return
        fact = _launch(study, history, decision, suggest)
        if fact is LATER:
            return
        if isinstance(fact, Launched) and not _affords(study, history, fact):
            reason = f"the total resource has too little left: {history.spent:g} units are spent"
            break
        history.append(fact)
    if not history.running:
        _finish(history, reason or history.exhausted or "there is nothing left to run")


def _next(study: Study, history: History) -> Decision | None:
    """Return the next decision: stops need no slot, then come retries, then launches."""
    decision = next_stop(study.stop, history) or study.scheduler.next(history)
    if history.retries and not isinstance(decision, Stop):
        trial = next(iter(history.retries.values()))
        return Resume(trial.number, trial.until)
    return decision


def _launch(
    study: Study, history: History, decision: Start | Resume | Clone, suggest: Suggest
) -> Launched | Exhausted | Literal[Later.LATER]:
    """Return the launch that a decision asks for, or why there is none."""
    if isinstance(decision, Start):
        return _start(study, history, decision, suggest)
    if isinstance(decision, Resume):
        return _resume(study, history, decision)
    return _clone(study, history, decision)


def _start(
    study: Study, history: History, decision: Start, suggest: Suggest
) -> Launched | Exhausted | Literal[Later.LATER]:
    number = len(history.trials)
    limit = study.trial_limit
    if limit is not None and number >= limit:
        return Exhausted(f"all {limit} trials are done")
    given = decision.params
    suggested = suggest(history, decision.until) if given is None else Suggestion(given)
    if suggested is None:
        return Exhausted("the searcher has no more configurations")
    if suggested is LATER:
        return LATER
    until = _until(study, 0, decision.until)
    return Launched(
        number,
        0,
        until,
        params=suggested.params,
        bracket=decision.bracket,
        late=suggested.late,
        resources=decision.resources,
    )


def _resume(study: Study, history: History, decision: Resume) -> Launched:
    trial = _paused(history, decision.trial)
    is_retry = trial.number in history.retries
    return Launched(
        trial.number,
        trial.segment + 1,
        decision.until if is_retry else _until(study, trial.resource, decision.until),
        start=trial.checkpoint_resource,
        checkpoint=trial.checkpoint,
        params=None if is_retry else decision.params,
        attempt=trial.attempt + 1 if is_retry else 0,
        resources=trial.resources if is_retry else decision.resources,
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
        params=study.scheduler.explore(source.params, study.space, rng, history, decision),
        source=source.number,
        resources=decision.resources,
    )


def _paused(history: History, number: int) -> Trial:
    trial = history.trials[number]
    if trial.state is not TrialState.PAUSED:
        raise RuntimeError(f"the scheduler launched trial {number}, which is {trial.state}")
    return trial


def _until(study: Study, resource: Resource, until: Resource | None) -> Resource | None:
    if not study.in_rounds:
        return until
    until = study.scheduler.horizon(resource, until)
    # A scheduler that pauses trials would not go on with one that paused for a stopper.
    return until if study.scheduler.pauses else horizon(study.stop, resource, until)


def _affords(study: Study, history: History, fact: Launched) -> bool:
    if fact.until is None:
        return True
    is_new_ground = fact.trial == len(history.trials) or fact.source is not None
    reached = fact.start if is_new_ground else history.trials[fact.trial].resource
    return study.budget.affords(history, fact.until - reached)
