"""More GPUs and cores for the trials that remain.

The policies are those of Ray Tune's ``DistributeResources`` and ``DistributeResourcesToTopJob``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.schedulers.base import (
    Clone,
    Decision,
    Resume,
    Scheduler,
    Start,
    Stop,
    require,
    require_number,
)
from tuneflow.schedulers.dehb import DEHB
from tuneflow.schedulers.levels import next_multiple
from tuneflow.space import Space
from tuneflow.trial import Params, Resource, Trial

_DEFAULTS: Mapping[str, float] = {"cpu": 1, "gpu": 0}
"""What a trial has of that which can be shared out, where the study does not say."""


@dataclass(frozen=True)
class ResourceChanging(Scheduler):
    """Decide as another scheduler does, and share a total out among the trials that remain.

    While new trials are to come, each occupies what the study's ``resources`` say. From then on a
    trial that goes on gets a share, in whole GPUs and cores, and never less than that. It keeps
    the share until it pauses: what a trial occupies changes between two segments only, where it
    goes on from its checkpoint. So the objective should save one, and look at
    ``tuneflow.current_trial().resources``.

    Trials that remain are those that run or may be told to go on. Trials that a rung has left
    behind do not count.

    Args:
        base: the scheduler that decides; not ``dehb``, which goes on with no trial.
        total: what there is in all, such as ``{"gpu": 8, "cpu": 32}``.
        policy: "even" (the default) divides the total by the number of trials that remain;
            "top" gives the best of them all that the others do not need.
        most: the most that one trial gets, as it must fit on one worker. Default: the total.
        interval: resource units after which a trial is paused so that its share can change; for a
            base that never pauses trials, and for no other.
    """

    type: ClassVar[str] = "resource_changing"

    base: Scheduler
    total: Mapping[str, int]
    policy: Literal["even", "top"] = "even"
    most: Mapping[str, int] | None = None
    interval: Resource | None = None

    def __post_init__(self) -> None:
        given: Any = self.base
        require(
            isinstance(given, Scheduler),
            "base",
            f"{given!r} is no scheduler",
            "give an instance, such as ASHA(max_resource=27)",
        )
        require(bool(self.total), "total", "it is empty", "write for example {gpu: 8}")
        _check_amounts("total", self.total)
        _check_amounts("most", self.most or {})
        for name, amount in (self.most or {}).items():
            is_part = amount <= self.total.get(name, 0)
            require(is_part, f"most.{name}", f"{amount!r} is more than the total")
        require(
            self.policy in ("even", "top"), "policy", f"{self.policy!r} is neither 'even' nor 'top'"
        )
        self._check_interval()

    def _check_interval(self) -> None:
        kind = self.base.type
        resumes = not isinstance(self.base, DEHB)
        require(resumes, "base", f"{kind} goes on with no trial, so that no share could change")
        if self.interval is None:
            problem = f"{kind} never pauses trials, so that their shares could not change"
            require(self.base.pauses, "interval", problem, "give resource units")
            return
        require(not self.base.pauses, "interval", f"{kind} pauses trials itself", "leave it out")
        require_number("interval", self.interval, 0)

    @property
    def limit(self) -> Resource | None:
        """That of the base."""
        return self.base.limit

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those of the base."""
        return self.base.metrics

    @property
    def default_trials(self) -> int | None:
        """That of the base."""
        return self.base.default_trials

    @property
    def pauses(self) -> bool:
        """Whether the base does: with another one, any trial that has paused goes on."""
        return self.base.pauses

    @property
    def most_resources(self) -> Mapping[str, Any] | None:
        """The most that one trial may be told to occupy."""
        return {**self.total, **(self.most or {})}

    def remaining(self, history: History) -> int:
        """Return what the base says."""
        return self.base.remaining(history)

    def next(self, history: History) -> Decision | None:
        """Return the base's decision, with the share of the trial."""
        decision = self.base.next(history)
        if decision is None or isinstance(decision, Stop):
            return decision
        if self.interval is not None and not isinstance(decision, Clone):
            level = 0 if isinstance(decision, Start) else history.trials[decision.trial].resource
            until = next_multiple(level, self.interval, decision.until)
            decision = replace(decision, until=until)
        if isinstance(decision, Start) or not _all_have_begun(history):
            return decision
        return replace(decision, resources=self._share(history, decision))

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return the base's horizon, or where the trial is to pause if that is earlier."""
        goals = (self.base.horizon(resource, until), until)
        return min((goal for goal in goals if goal is not None), default=None)

    def check(self, space: Space) -> None:
        """Raise SpecError when the base cannot work on the space."""
        try:
            self.base.check(space)
        except SpecError as error:
            field = f"scheduler.base{error.field.removeprefix('scheduler')}"
            raise SpecError(field, error.problem, error.fix) from None

    def prepare(self) -> None:
        """Prepare the base."""
        self.base.prepare()

    def explore(
        self, params: Params, space: Space, rng: random.Random, history: History, clone: Clone
    ) -> Params:
        """Return what the base makes of a donor's parameters."""
        return self.base.explore(params, space, rng, history, clone)

    def _share(self, history: History, decision: Resume | Clone) -> dict[str, float] | None:
        """Return what a trial is to occupy; None when that is what the study says."""
        others = [trial for trial in history.running.values() if trial.number != decision.trial]
        count = max(self.base.remaining(history), len(others) + 1)
        is_top = self.policy == "top" and self._is_best(history, decision)
        own = {name: _amount(history.resources, name) for name in self.total}
        shares: dict[str, float] = {}
        for name, total in self.total.items():
            if self.policy == "even":
                free = total / count
            else:
                held = sum(_held(trial, history, name) for trial in others)
                kept = own[name] * (count - 1 - len(others))
                free = total - held - kept if is_top else 0
            most = (self.most or self.total).get(name, total)
            shares[name] = max(own[name], min(math.floor(free), most))
        return None if shares == own else shares

    @staticmethod
    def _is_best(history: History, decision: Resume | Clone) -> bool:
        """Whether no other trial that has come as far, and is not over, is better."""
        number = decision.source if isinstance(decision, Clone) else decision.trial
        level, loss = history.trials[number].resource, history.trial_loss(history.trials[number])
        return not any(
            trial.resource >= level and history.trial_loss(trial) < loss
            for trial in history.trials
            if trial.number != number and not trial.state.is_final
        )


def _all_have_begun(history: History) -> bool:
    limit = history.trial_limit
    is_limit_reached = limit is not None and len(history.trials) >= limit
    return is_limit_reached or history.exhausted is not None


def _amount(resources: Mapping[str, Any], name: str) -> float:
    amount: float = resources.get(name, _DEFAULTS[name])
    return amount


def _held(trial: Trial, history: History, name: str) -> float:
    return _amount({**history.resources, **(trial.resources or {})}, name)


def _check_amounts(field: str, amounts: Mapping[str, Any]) -> None:
    for name, amount in amounts.items():
        known = " and ".join(_DEFAULTS)
        require(name in _DEFAULTS, f"{field}.{name}", f"only {known} can be shared out")
        is_whole = isinstance(amount, int) and not isinstance(amount, bool) and amount >= 1
        require(is_whole, f"{field}.{name}", f"{amount!r} is not a whole number of 1 or more")
