"""How many stages a DAG, which has no loops, has to be unrolled to for a study."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.recording import record_outcome
from tuneflow.schedulers.asha import ASHA
from tuneflow.schedulers.base import Decision, Scheduler
from tuneflow.schedulers.cost_asha import CostASHA
from tuneflow.schedulers.pasha import PASHA
from tuneflow.schedulers.pbt_replay import PBTReplay
from tuneflow.schedulers.resource_changing import ResourceChanging
from tuneflow.searchers.base import Searcher
from tuneflow.searchers.limit import new_trials
from tuneflow.space import Space
from tuneflow.stoppers.base import Stopper, Watch
from tuneflow.study import Study, decide
from tuneflow.trial import Outcome, Params, Report, Resource, Trial
from tuneflow.views.progress import unwrapped

MOST: Final = 200
"""The most rounds that are foreseen: 600 tasks, and far more than anybody looks at."""

SPARE: Final = 2
"""Stages for rounds in which trials that were lost with their workers are tried again.

That is rare, for Dask and the trial's task have tried before. Where it is too few a new run of the
DAG goes on with the study.
"""

_SAMPLE: Final = 40
"""Trials that show how many segments one trial can have."""

_WORK: Final = 1000
"""Segments of a dry run; what a study with more of them needs is told from smaller ones."""


def stages_of(study: Study, stages: int | None = None) -> int:
    """Return how many stages to unroll for a study.

    Args:
        study: a study in rounds.
        stages: what the user says. Default: `bound`, and stages to spare: `SPARE`, and one for
            each time that ``budget.max_failures_per_trial`` lets a trial fail.

    Raises:
        SpecError: the user's number is too small, or there is none and it cannot be told.
    """
    needed = bound(study)
    if stages is None:
        return _foreseen(needed) + SPARE + study.budget.max_failures_per_trial
    require_whole("stages", stages)
    if needed is not None and stages < needed:
        least = "more than" if needed > MOST else "up to"
        problem = f"{stages} are too few: the study can need {least} {min(needed, MOST)}"
        raise SpecError("stages", problem)
    return stages


def require_stages(study: Study, stages: int) -> None:
    """Raise SpecError when a study can need more stages than a DAG has."""
    needed = bound(study)
    if needed is None or needed <= stages:
        return
    count = f"up to {needed}" if needed <= MOST else f"more than {MOST}"
    raise SpecError(
        "stages",
        f"the study can need {count} stages and the DAG has {stages}",
        "trigger with fewer trials, or give the DAG a larger round_size or more stages",
    )


def require_whole(field: str, value: Any) -> None:
    """Raise SpecError for an argument unless it is a whole number of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpecError(field, f"{value!r} is not a whole number of 1 or more")


def _foreseen(needed: int | None) -> int:
    if needed is None:
        problem = "nothing but its budget says when this study ends"
        raise SpecError("stages", problem, "give stages, or a number of trials")
    if needed > MOST:
        problem = f"this study can need more than {MOST}"
        raise SpecError("stages", problem, "give stages, let a round be more, or use TuneOperator")
    return needed


def bound(study: Study) -> int | None:
    """Return how many rounds a study can need, whatever its trials come to.

    A dry run tells. Each of its made-up results is better than all before: then no trial is
    stopped, and asynchronous halving promotes as many as it ever can. A trial that fails, ends
    early or reports nothing of use only makes it less. Not counted are trials that are tried
    again, and members of a population that copy checkpoints which are older than the reports they
    are ranked by.

    Returns:
        The number, at most one more than `MOST`; None when nothing but the study's budget, or
        nothing at all, limits its trials.
    """
    trials = _trials(study)
    if trials is None:
        return None
    size = study.round_size if isinstance(study.round_size, int) else max(trials, 1)
    size = new_trials(study.searcher, size)
    longest = _DryRun(study, min(trials, _SAMPLE), 1).longest
    if longest > MOST or trials > MOST * size:
        return MOST + 1
    most = max(_WORK // longest, 2)
    chain = longest
    if longest == 1:  # no trial is resumed, but as in DEHB one may have to wait for others
        chain = _grown(trials, most, lambda count: _DryRun(study, count, count).rounds)
    if size >= trials:
        return _DryRun(study, trials, trials).rounds if trials <= most else min(chain, MOST + 1)
    # Graham, Bounds on Multiprocessing Timing Anomalies, SIAM J. Appl. Math. 17 (1969): a round
    # that is not full has all that can be run, so it takes a step of whatever is the longest way
    # to go; and the others are full.
    segments = _grown(trials, most, lambda count: _DryRun(study, count, 1).segments)
    return min((segments + (size - 1) * chain) // size, MOST + 1)


def _trials(study: Study) -> int | None:
    """Return how many trials there can be."""
    limits = (study.trial_limit, study.searcher.trials(study.space))
    return min((limit for limit in limits if limit is not None), default=None)


def _grown(trials: int, most: int, count: Callable[[int], int]) -> int:
    """Return what a count comes to for so many trials, from dry runs of at most ``most``."""
    if trials <= most:
        return count(trials)
    half, whole = count(most // 2), count(most)
    return whole + math.ceil((whole - half) / (most - most // 2) * (trials - most))


class _DryRun:
    """A study that is run with made-up results.

    Every trial reaches the level that it is sent to, does better than any before and costs nothing.
    There are no checkpoints: a population whose members copy one another gets on faster.

    Args:
        study: the study.
        trials: how many trials it has.
        size: of its rounds; those of one segment give the scheduler the most to decide.

    Attributes:
        rounds: how many there were.
        segments: how many, in all.
        longest: how many the trial with the most of them had; at most one more than `MOST`.
    """

    def __init__(self, study: Study, trials: int, size: int) -> None:
        self.rounds = self.segments = self.longest = 0
        self._study = replace(
            study,
            space=_SPACE,
            searcher=_Unsearching(),
            scheduler=_Unexploring(_generous(study.scheduler)),
            trials=max(trials, 1),
            round_size=size,
            budget=Budget(),
            constraints=(),
            stop=tuple(map(_Unstopping, study.stop)),
        )
        base = unwrapped(study.scheduler)
        self._free = {base.cost: 0.0} if isinstance(base, CostASHA) else {}
        self._run()

    def _run(self) -> None:
        history, count = self._study.history(), Counter[int]()
        decide(self._study, history)
        while history.running and self.longest <= MOST:
            self.rounds += 1
            for _, trial in sorted(history.running.items()):
                self._end(history, trial)
                count[trial.number] += 1
                self.longest = max(self.longest, count[trial.number])
            decide(self._study, history)

    def _end(self, history: History, trial: Trial) -> None:
        """End a trial's segment, at the level that it was sent to."""
        self.segments += 1
        level = trial.resource + 1 if trial.until is None else trial.until
        better = float(self.segments)
        goals = self._study.objectives
        metrics = {m: better if mode == "max" else -better for m, mode in goals}
        report = Report(level, {**metrics, **self._free})
        status: Any = "completed" if trial.until is None else "paused"
        record_outcome(
            self._study, history, Outcome(trial.number, trial.segment, status, (report,))
        )


def _generous(scheduler: Scheduler) -> Scheduler:
    """Return a scheduler that gives trials as much as this one ever can."""
    if isinstance(scheduler, ResourceChanging):
        return replace(scheduler, base=_generous(scheduler.base))
    if isinstance(scheduler, PBTReplay):  # with one configuration no checkpoint is needed
        steps = ({**step, "params": {}} for step in scheduler.schedule)
        return replace(scheduler, schedule=tuple(steps))
    if isinstance(scheduler, PASHA):  # ever better results do not unlock its rungs
        return ASHA(scheduler.max_resource, scheduler.min_resource, scheduler.reduction_factor)
    return scheduler


_SPACE: Final = Space({})


@dataclass(frozen=True, kw_only=True)
class _Unsearching(Searcher):
    """Proposes a trial without parameters."""

    type: ClassVar[str] = "unsearching"
    multi_objective: ClassVar[bool] = True

    def suggest(self, space: Space, history: History, until: Resource | None = None) -> Params:
        """Return no parameters; drawing any would take most of the time."""
        return {}

    def propose(self, space: Space, history: History, rng: random.Random) -> Params:
        """Return no parameters."""
        return {}


@dataclass(frozen=True)
class _Unexploring(Scheduler):
    """Decides as another scheduler does, and leaves parameters alone."""

    type: ClassVar[str] = "unexploring"

    inner: Scheduler

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.inner.limit

    @property
    def pauses(self) -> bool:
        """Whether the other one pauses trials."""
        return self.inner.pauses

    def next(self, history: History) -> Decision | None:
        """Return the other one's decision."""
        return self.inner.next(history)

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the other one's level."""
        return self.inner.horizon(resource, until)


@dataclass(frozen=True)
class _Unstopping(Stopper):
    """Has segments pause where another stopper does, and ends nothing."""

    type: ClassVar[str] = "unstopping"

    inner: Stopper

    def watch(self, history: History) -> Watch:
        """Return a watch that never says anything."""
        return _Unmoved()

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the other one's level."""
        return self.inner.horizon(resource, until)


class _Unmoved(Watch):
    """Says nothing, whatever is reported."""

    def report(self, trial: int, report: Report) -> None:
        """Take in a report."""
