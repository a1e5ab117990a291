"""Population based training (PBT).

Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan,
Fernando, Kavukcuoglu: Population Based Training of Neural Networks, 2017, with truncation
selection (section 4.1.1). The defaults of the quantile (25 %) and of resampling are Ray Tune's;
the paper uses 20 %.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tuneflow.events import Closed, Fact, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.rng import choose_index, generator
from tuneflow.schedulers.base import Clone, Decision, Resume, Scheduler, Start, require
from tuneflow.schedulers.levels import check_resources, exact
from tuneflow.schedulers.perturb import perturb
from tuneflow.space import Domain, Space
from tuneflow.trial import Params, Resource


@dataclass(frozen=True)
class PBT(Scheduler):
    """Train a population; let the worst copy the best, and explore from there.

    The study's ``trials`` is the size of the population. Every ``interval`` units a member is
    ready; when it is among the worst ``quantile`` it goes on from the newest checkpoint of a
    member drawn among the best ``quantile``, with that member's parameters explored.

    Args:
        max_resource: the level at which a member is complete.
        interval: resource units between two exploitations of a member.
        quantile: fraction of the population that is replaced, and copied from: the worst and
            the best ``ceil(n * quantile)``, at most half each. 0 never exploits. Default 0.25.
        resample_probability: chance that a parameter is drawn anew instead of perturbed.
            Default 0.25.
        factors: a perturbed number is multiplied by one of these. Default (0.8, 1.2).
        mutations: dotted paths of the parameters that are explored; the others stay the
            donor's. Default: all of the space.
        synchronous: wait for the whole population before each exploitation, so that all are
            compared at the same level. Default False: a member is compared with the latest
            value of each other one.

    A member's step count follows its donor. A donor needs a checkpoint and a finite value, has
    reported since it was last cloned itself, and is not complete. A member whose value is NaN
    or missing ranks last, so it is replaced first. A member that failed for good takes no
    further part and is not waited for.
    """

    type: ClassVar[str] = "pbt"

    max_resource: Resource
    interval: Resource = 1
    quantile: float = 0.25
    resample_probability: float = 0.25
    factors: tuple[float, ...] = (0.8, 1.2)
    mutations: tuple[str, ...] | None = None
    synchronous: bool = False

    def __post_init__(self) -> None:
        check_resources(self.interval, self.max_resource)
        require(
            0 <= self.quantile <= 0.5,
            "quantile",
            f"{self.quantile!r} is not between 0 and 0.5",
            "0.25 is usual",
        )
        require(
            0 <= self.resample_probability <= 1,
            "resample_probability",
            f"{self.resample_probability!r} is not between 0 and 1",
        )
        require(
            bool(self.factors) and all(factor > 0 for factor in self.factors),
            "factors",
            f"{self.factors!r} are not all above 0",
        )

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self.max_resource

    def next(self, history: History) -> Decision | None:
        """Exploit or resume members that are ready, else start members."""
        index = history.index(self, lambda: _Population(self, history))
        for number, choice in index.ready.items():
            return self._go_on(history, index, number, choice)
        return None if history.exhausted else Start(self._after(0))

    def explore(self, params: Params, space: Space, rng: random.Random) -> Params:
        """Return a donor's parameters, each drawn anew or perturbed within its domain."""
        values = space.values(params)

        def choose(path: str, domain: Domain) -> Any:
            may_change = self.mutations is None or path in self.mutations
            if path in values and not may_change:
                return values[path]
            if path not in values or rng.random() < self.resample_probability:
                return domain.from_unit(rng.random())
            factor = self.factors[choose_index(rng, len(self.factors))]
            return perturb(domain, values[path], factor)

        return space.build(choose)

    def _go_on(
        self, history: History, index: _Population, number: int, choice: _Choice
    ) -> Decision:
        donors = [donor for donor in choice.donors if index.can_give(donor, number)]
        member = index.members[number]
        if not donors:
            return Resume(number, self._after(member.level))
        rng = generator(history.seed, "donor", number, member.launches)
        donor = donors[choose_index(rng, len(donors))]
        return Clone(donor, number, self._after(index.members[donor].checkpoint_level))

    def _after(self, level: Resource) -> Resource:
        """Return the next multiple of the interval above a level, at most the maximum."""
        steps = math.floor(exact(level) / exact(self.interval)) + 1
        return min(steps * self.interval, self.max_resource)


@dataclass(slots=True)
class _Member:
    """One member of the population as the facts have left it."""

    level: Resource = 0
    loss: float | None = None
    has_checkpoint: bool = False
    checkpoint_level: Resource = 0
    launches: int = 0
    is_running: bool = False
    is_out: bool = False


@dataclass(frozen=True, slots=True)
class _Choice:
    """Whom a ready member may copy; nobody, unless it was among the worst."""

    donors: tuple[int, ...] = field(default=())


class _Population:
    """The members, and those that are ready to go on."""

    def __init__(self, scheduler: PBT, history: History) -> None:
        self._rule = scheduler
        self._loss = history.loss
        self.members: list[_Member] = []
        self.ready: dict[int, _Choice] = {}

    def can_give(self, donor: int, to: int) -> bool:
        """Whether a member may be copied now."""
        member = self.members[donor]
        return (
            donor != to
            and not member.is_out
            and member.has_checkpoint
            and member.loss is not None
            and member.loss < math.inf
            and member.checkpoint_level < self._rule.max_resource
        )

    def apply(self, fact: Fact) -> None:
        """Take in the next fact."""
        if isinstance(fact, Reported):
            self._reported(fact)
        elif isinstance(fact, Launched):
            self._launched(fact)
        elif isinstance(fact, Closed):
            self._closed(fact)
        elif isinstance(fact, Stopped):
            self._leave(fact.trial)

    def _launched(self, fact: Launched) -> None:
        if fact.trial == len(self.members):
            self.members.append(_Member())
        member = self.members[fact.trial]
        member.is_running, member.is_out = True, False
        member.launches += 1
        self.ready.pop(fact.trial, None)
        member.has_checkpoint = fact.checkpoint is not None
        member.checkpoint_level = fact.start
        if fact.source is not None:
            member.level, member.loss = fact.start, None

    def _reported(self, fact: Reported) -> None:
        member, report = self.members[fact.trial], fact.report
        member.level, member.loss = report.resource, self._loss(report.metrics)
        if report.checkpoint is not None:
            member.has_checkpoint, member.checkpoint_level = True, report.resource

    def _closed(self, fact: Closed) -> None:
        if fact.retry:
            return
        member = self.members[fact.trial]
        member.is_running = False
        is_complete = member.level >= self._rule.max_resource
        if fact.status != "paused":
            self._leave(fact.trial)
        elif not self._rule.synchronous and not is_complete:
            self.ready[fact.trial] = self._choice(fact.trial, self._ranked())
        if self._rule.synchronous:
            self._pass_barrier()

    def _leave(self, trial: int) -> None:
        member = self.members[trial]
        member.is_running, member.is_out = False, True
        self.ready.pop(trial, None)

    def _pass_barrier(self) -> None:
        """Make the whole population ready when its last member has come in."""
        if any(member.is_running for member in self.members):
            return
        ranked = self._ranked()
        for number, member in enumerate(self.members):
            if not member.is_out and member.level < self._rule.max_resource:
                self.ready[number] = self._choice(number, ranked)

    def _ranked(self) -> list[int]:
        """Return the members that have a value, best first; ties go to the lower number."""
        known = [
            number
            for number, member in enumerate(self.members)
            if member.loss is not None and not member.is_out
        ]
        return sorted(known, key=lambda number: self.members[number].loss or 0.0)

    def _choice(self, number: int, ranked: list[int]) -> _Choice:
        count = min(math.ceil(len(ranked) * exact(self._rule.quantile)), len(ranked) // 2)
        if count == 0 or number not in ranked[-count:]:
            return _Choice()
        return _Choice(tuple(ranked[:count]))
