"""A world for schedulers to act in: every trial does what fate says, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from hypothesis import strategies as st

from tuneflow.budget import Budget
from tuneflow.events import Fact, Opened
from tuneflow.history import History
from tuneflow.recording import record_outcome, record_report
from tuneflow.schedulers.base import Clone, Decision, Scheduler
from tuneflow.searchers.random import Random
from tuneflow.space import Categorical, Float, Int, Space
from tuneflow.study import Study, decide
from tuneflow.trial import Failure, Outcome, Report, Resource, Segment, Status, Trial

METRIC: Final = "loss"
SPACE: Final = Space(
    {
        "rate": Float(1e-4, 1, log=True),
        "layers": Int(1, 8),
        "kind": Categorical(("a", "b", "c")),
        "start": Int(0, 2),
    }
)
DEEDS: Final = ("step", "jump", "nan", "infinity", "missing", "complete", "fail", "lose")
"""What a trial may do next; see `Fate`."""

FORGIVING: Final = Budget(max_failures_per_trial=1, max_losses_per_trial=1, max_failures=1_000_000)
"""Every trial is tried twice, and no number of failures halts the study."""

_NATURAL_END = 5
_MOST_STEPS = 5_000


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens next.

    Attributes:
        which: to which of the running trials, counted round and round.
        deed: one of `DEEDS`. "step" reports one level, "jump" several levels at once; "nan",
            "infinity" and "missing" report what is of no use; "complete" reports and ends by
            itself, "fail" and "lose" end with no report.
        value: what is reported.
    """

    which: int
    deed: str
    value: float


def fates() -> st.SearchStrategy[list[Fate]]:
    """Return a strategy for the fates of a study, which come round and round; ties are common."""
    values = st.integers(-3, 3).map(float) | st.floats(-10, 10)
    deeds = st.sampled_from([*DEEDS, "step", "step", "step"])
    one = st.builds(Fate, which=st.integers(0, 60), deed=deeds, value=values)
    return st.lists(one, min_size=1, max_size=40)


@dataclass(frozen=True)
class Watched(Scheduler):
    """A scheduler whose every answer is noted, with how many facts there were."""

    type: ClassVar[str] = "watched"

    inner: Scheduler
    answers: list[tuple[int, Decision | None]] = field(
        default_factory=list, compare=False, hash=False
    )

    @property
    def limit(self) -> Resource | None:
        """The limit of the scheduler that is watched."""
        return self.inner.limit

    @property
    def default_trials(self) -> int | None:
        """The default of the scheduler that is watched."""
        return self.inner.default_trials

    @property
    def pauses(self) -> bool:
        """Whether the scheduler that is watched pauses trials."""
        return self.inner.pauses

    def next(self, history: History) -> Decision | None:
        """Ask the scheduler that is watched, and note its answer."""
        decision = self.inner.next(history)
        self.answers.append((len(history.facts), decision))
        return decision

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Ask the scheduler that is watched."""
        return self.inner.horizon(resource, until)

    def explore(self, params: Any, space: Space, rng: Any, history: History, clone: Clone) -> Any:
        """Ask the scheduler that is watched."""
        return self.inner.explore(params, space, rng, history, clone)


class World:
    """A study whose trials do what fate says.

    Every fourth step happens to the trial that has waited longest, so that nobody is forgotten.

    Args:
        scheduler: the scheduler to watch.
        fates: what happens, round and round.
        trials: how many trials there are.
        slots: how many segments run at once.
        round_size: makes rounds; see `Study`.
        budget: the study's. Default: each trial may fail once and be lost once.
        seed: the study's seed.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        fates: Sequence[Fate],
        *,
        trials: int | None = 10,
        slots: float = 4,
        round_size: int | Literal["all"] | None = None,
        budget: Budget | None = None,
        seed: int = 0,
    ) -> None:
        self.watched = Watched(scheduler)
        self.study = Study(
            name="world",
            space=SPACE,
            metric=METRIC,
            mode="min",
            searcher=Random(),
            scheduler=self.watched,
            trials=trials,
            seed=seed,
            round_size=round_size,
            budget=budget or FORGIVING,
        )
        self.history = self.study.history()
        self.slots = math.inf if self.study.in_rounds else slots
        self._fates = fates
        self._steps = 0
        self._reports: dict[tuple[int, int], list[Report]] = {}

    def run(self) -> History:
        """Go on to the end of the study, and return its history."""
        while self.turn():
            if self._steps > _MOST_STEPS:
                raise AssertionError(f"the study does not end: {_MOST_STEPS} steps were not enough")
        return self.history

    def turn(self) -> bool:
        """Decide, and let something happen; return False when the study is over."""
        self.decide()
        if not self.history.running:
            return False
        if self.study.in_rounds:
            self._run_round()
        else:
            self._step()
        return True

    def decide(self) -> list[Fact]:
        """Decide, and return the new facts."""
        return decide(self.study, self.history, self.slots)

    def reopen(self) -> None:
        """Open the study once more, and try failed trials again."""
        self.history.append(Opened(self.history.epoch + 1, retry_failed=True))

    def rebuilt(self, facts: Sequence[Fact] | None = None) -> History:
        """Return a history of the same facts, or of those given, that nobody has asked yet."""
        history = self.study.history()
        history.extend(self.history.facts if facts is None else facts)
        return history

    def _fate(self) -> Fate:
        self._steps += 1
        return self._fates[self._steps % len(self._fates)]

    def _step(self) -> None:
        fate = self._fate()
        running = list(self.history.running.values())
        trial = running[0 if self._steps % 4 == 0 else fate.which % len(running)]
        segment = trial.segment
        report, outcome = self._act(fate, trial)
        if report is not None:
            # Messages may be lost or come twice; the outcome has every report.
            for _ in range(fate.which % 3):
                record_report(self.history, trial.number, segment, report)
        if outcome is not None:
            for _ in range(1 + fate.which % 2):
                record_outcome(self.study, self.history, outcome)

    def _run_round(self) -> None:
        outcomes = [self._run_segment(trial) for trial in self.history.running.values()]
        for outcome in sorted(outcomes, key=lambda outcome: outcome.key):
            record_outcome(self.study, self.history, outcome)

    def _run_segment(self, trial: Trial) -> Outcome:
        outcome = None
        while outcome is None:
            _, outcome = self._act(self._fate(), trial)
        return outcome

    def _act(self, fate: Fate, trial: Trial) -> tuple[Report | None, Outcome | None]:
        """Return what a trial says, and its outcome when that ends its segment."""
        segment = self.history.segment(trial)
        reports = self._reports.setdefault(segment.key, [])
        if fate.deed in ("fail", "lose"):
            status: Status = "failed" if fate.deed == "fail" else "lost"
            return None, _outcome(segment, status, reports)
        report = self._report(fate, segment, reports)
        reports.append(report)
        ending = _ending(fate, segment, report.resource, trial.stopping is not None)
        return report, None if ending is None else _outcome(segment, ending, reports)

    def _report(self, fate: Fate, segment: Segment, reports: Sequence[Report]) -> Report:
        last = reports[-1].resource if reports else segment.start
        level = last + (1 + fate.which % 30 if fate.deed == "jump" else 1)
        if segment.until is not None:
            level = min(level, segment.until)
        useless = {"nan": {METRIC: math.nan}, "infinity": {METRIC: -math.inf}, "missing": {}}
        metrics = useless.get(fate.deed, {METRIC: fate.value})
        saved = fate.which % 3 > 0
        return Report(level, metrics, f"{segment.key}-{level}" if saved else None)


def _ending(fate: Fate, segment: Segment, level: Resource, is_stopping: bool) -> Status | None:
    is_at_end = segment.max_resource is None and level >= _NATURAL_END
    if is_at_end or fate.deed == "complete":
        return "completed"
    if segment.until is not None and level >= segment.until:
        return "paused"
    return "stopped" if is_stopping else None


def _outcome(segment: Segment, status: Status, reports: Sequence[Report]) -> Outcome:
    failure = Failure("fate", "it was to be") if status in ("failed", "lost") else None
    return Outcome(*segment.key, status, tuple(reports), failure)
