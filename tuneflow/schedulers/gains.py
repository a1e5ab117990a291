"""What each interval of a population's training has gained, with which configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.trial import Params, Resource


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of training with one configuration.

    Attributes:
        start: the level at which it began.
        before: the loss there; infinity when it is not known.
        params: the configuration.
        gain: by how much the loss fell for each unit of resource; minus infinity where training
            failed or came to no usable value.
    """

    start: Resource
    before: float
    params: Params
    gain: float = -math.inf


@dataclass(slots=True)
class _Member:
    """A trial: the interval that it is in, what it last said, and what it last saved."""

    interval: Interval
    level: Resource = 0
    loss: float = math.inf
    saved: float = math.inf


class Gains(Index):
    """The intervals that are over, and those under way.

    Attributes:
        over: those that are over and of which the loss before is known, in the order of their
            ends.
        under_way: those of the running trials, by trial.
    """

    def __init__(self, history: History) -> None:
        self.over: list[Interval] = []
        self.under_way: dict[int, Interval] = {}
        self._loss = history.loss
        self._members: list[_Member] = []

    def saved_loss(self, trial: int) -> float:
        """Return the loss at a trial's newest checkpoint; infinity when it is not usable."""
        return self._members[trial].saved

    def launched(self, fact: Launched) -> None:
        """An interval begins, unless it is the same one once more."""
        if fact.trial == len(self._members):
            self._members.append(_Member(Interval(0, math.inf, fact.params or {})))
        member = self._members[fact.trial]
        if fact.source is not None:
            member.level = fact.start
            member.loss = member.saved = self._members[fact.source].saved
        if not fact.attempt:
            params = fact.params or member.interval.params
            member.interval = Interval(member.level, member.loss, params)
        self.under_way[fact.trial] = member.interval

    def reported(self, fact: Reported) -> None:
        """Note how far the trial has come, and how good it is there."""
        member, report = self._members[fact.trial], fact.report
        member.level, member.loss = report.resource, self._loss(report.metrics)
        if report.checkpoint is not None:
            member.saved = member.loss

    def closed(self, fact: Closed) -> None:
        """The interval is over, unless it is tried again."""
        del self.under_way[fact.trial]
        member = self._members[fact.trial]
        begun = member.interval
        if fact.retry or fact.status == "lost" or begun.before == math.inf:
            return
        units, gain = member.level - begun.start, -math.inf
        if fact.status != "failed" and units > 0:
            gain = (begun.before - member.loss) / units
        if fact.status == "failed" or units > 0:
            self.over.append(Interval(begun.start, begun.before, begun.params, gain))
