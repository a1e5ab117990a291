"""The groups of trials that differ in their seed alone, as a history of their own.

| its trials | the group |
| --- | --- |
| some run, wait for a retry, or are still to come | pending |
| all have failed | failed |
| all others have completed | completed, with the mean or median of their final values |
| some others are paused | paused, with the values of the levels that they all have reported |
| the others are completed or stopped | stopped, with the same |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tuneflow.events import Closed, Exhausted, Finished, Launched, Opened, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.space import Space
from tuneflow.trial import Params, Report, Resource, Status, TrialState

_OPEN = ("running", "retried")


@dataclass(slots=True)
class _Member:
    """One trial of a group.

    Attributes:
        state: "running", "retried" while it waits for that, "paused", "completed", "stopped" or
            "failed".
        reports: its reports by level.
        stopping: whether it was told to stop.
    """

    state: str = "running"
    reports: dict[Resource, Mapping[str, float]] = field(default_factory=dict)
    stopping: bool = False


class Groups(Index):
    """An index of a study's history: one trial for each group.

    Args:
        history: tells metrics, modes, seed, constraints and the maximum resource, and nothing
            else.
        space: the space without the seed.
        repeats: how many trials a group has.
        seed_name: the parameter that holds the seed.
        middle: makes one value of those of a group.
        owner: whose identity this index is known by; it is kept alive.

    Attributes:
        space: the space without the seed.
        history: the history whose trials are the groups.
    """

    def __init__(
        self,
        history: History,
        space: Space,
        *,
        repeats: int,
        seed_name: str,
        middle: Callable[[list[float]], float],
        owner: object,
    ) -> None:
        self.space = space
        self.history = History(
            history.metric,
            history.mode,
            history.seed,
            history.max_resource,
            other_metrics=dict(history.objectives[1:]),
            constraints=[str(bound) for bound in history.constraints],
        )
        self._repeats = repeats
        self._seed_name = seed_name
        self._middle = middle
        self._owner = owner
        self._members: list[_Member] = []
        self._is_whole = False

    def launched(self, fact: Launched) -> None:
        """A trial begins, its group too if it is the first; or it goes on, and its group."""
        if fact.trial == len(self._members):
            self._members.append(_Member())
            if fact.trial % self._repeats == 0:
                self._begin(fact)
            return
        member = self._members[fact.trial]
        member.state = "running"
        if fact.source is not None:
            member.reports.clear()
        trial = self.history.trials[fact.trial // self._repeats]
        # A group that has ended for good heeds no trial of it that is tried again.
        if trial.state is TrialState.PAUSED:
            segment, start = trial.segment + 1, trial.resource
            self.history.append(Launched(trial.number, segment, fact.until, start=start))

    def _begin(self, fact: Launched) -> None:
        params: Params = dict(fact.params or {})
        params.pop(self._seed_name, None)
        group = len(self.history.trials)
        launched = Launched(
            group, 0, fact.until, params=params, bracket=fact.bracket, late=fact.late
        )
        self.history.append(launched)

    def reported(self, fact: Reported) -> None:
        """Note what a trial has at this level."""
        self._members[fact.trial].reports[fact.report.resource] = fact.report.metrics

    def closed(self, fact: Closed) -> None:
        """A trial has ended for now, and its group if it was the last one."""
        member = self._members[fact.trial]
        limit = self.history.max_resource
        is_whole = limit is not None and max(member.reports, default=0) >= limit
        if fact.status == "completed" or (fact.status == "paused" and is_whole):
            member.state = "completed"
        elif member.stopping:
            member.state = "stopped"
        elif fact.retry:
            member.state = "retried"
        else:
            member.state = "failed" if fact.status in ("failed", "lost") else "paused"
        self._settle(fact.trial // self._repeats)

    def stopped(self, fact: Stopped) -> None:
        """A trial is over as soon as it does not run."""
        member = self._members[fact.trial]
        member.stopping = True
        if member.state in ("retried", "paused"):
            member.state = "stopped"
            self._settle(fact.trial // self._repeats)

    def exhausted(self, fact: Exhausted) -> None:
        """The last group has no more trials than it has."""
        self._end_last()

    def finished(self, fact: Finished) -> None:
        """The groups that are paused are over."""
        self._end_last()
        self.history.append(fact)

    def opened(self, fact: Opened) -> None:
        """Trials that have failed may be tried again."""
        for member in self._members if fact.retry_failed else ():
            if member.state == "failed":
                member.state, member.stopping = "retried", False
        self.history.append(fact)

    def _end_last(self) -> None:
        self._is_whole = True
        if self.history.trials:
            self._settle(len(self.history.trials) - 1)

    def _settle(self, group: int) -> None:
        """End a group, for now or for good, if none of its trials is under way."""
        members = self._members[group * self._repeats :][: self._repeats]
        is_whole = len(members) == self._repeats or self._is_whole
        if not is_whole or any(member.state in _OPEN for member in members):
            return
        usable = [member for member in members if member.state != "failed"]
        trial = self.history.trials[group]
        status = _status(usable)
        if trial.state.is_final:
            return
        if status == "stopped":
            self.history.append(Stopped(group, "all its trials are over"))
        if trial.state is TrialState.RUNNING:
            for report in self._reports(usable, is_completed=status == "completed"):
                if report.resource > trial.resource:
                    self.history.append(Reported(group, report))
            self.history.append(Closed(group, status))

    def _reports(self, members: Sequence[_Member], *, is_completed: bool) -> Iterator[Report]:
        """Yield what the trials have in common, level by level."""
        first = members[0].reports if members else {}
        last = max((max(member.reports, default=0) for member in members), default=0)
        for level in first:
            shared = all(level in member.reports for member in members)
            if shared and not (is_completed and level == last):
                yield Report(level, self._merged([member.reports[level] for member in members]))
        if is_completed:
            yield Report(last, self._merged([self._final(member) for member in members]))

    def _final(self, member: _Member) -> Mapping[str, float]:
        """Return the newest usable metrics of a trial."""
        for metrics in reversed(member.reports.values()):
            if self.history.losses(metrics)[0] < math.inf:
                return metrics
        return {}

    def _merged(self, metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
        """Return each metric that all have, as one value of those that are usable."""
        names = [name for name in metrics[0] if all(name in each for each in metrics)]
        return {name: self._one([each[name] for each in metrics]) for name in names}

    def _one(self, values: Sequence[float]) -> float:
        usable = [value for value in values if math.isfinite(value)]
        return self._middle(usable) if usable else math.nan


def _status(members: Sequence[_Member]) -> Status:
    """Return how a group has ended, of which these trials have not failed."""
    states = [member.state for member in members]
    if not states:
        return "failed"
    if all(state == "completed" for state in states):
        return "completed"
    return "paused" if "paused" in states else "stopped"
