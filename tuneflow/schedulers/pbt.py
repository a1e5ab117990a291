"""Population based training (PBT).

Jaderberg, Dalibard, Osindero, Czarnecki, Donahue, Razavi, Vinyals, Green, Dunning, Simonyan,
Fernando, Kavukcuoglu: Population Based Training of Neural Networks, 2017, with truncation
selection (section 4.1.1). The defaults of the quantile (25 %) and of resampling are Ray Tune's;
the paper uses 20 %.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.errors import SpecError, did_you_mean
from tuneflow.events import (
    Closed,
    Exhausted,
    Fact,
    Finished,
    Launched,
    Opened,
    Reported,
    Stopped,
)
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.rng import choose_index, generator
from tuneflow.schedulers.base import (
    Clone,
    Decision,
    Resume,
    Scheduler,
    Start,
    require,
    require_number,
)
from tuneflow.schedulers.levels import exact, next_multiple
from tuneflow.schedulers.perturb import perturb
from tuneflow.space import Domain, Space
from tuneflow.trial import Params, Resource


@dataclass(frozen=True)
class PBT(Scheduler):
    """Train a population; let the worst copy the best, and explore from there.

    The study's ``trials`` is the size of the population. Every ``interval`` units a member is
    ready; when it is among the worst ``quantile`` it goes on from the newest checkpoint of a
    member drawn among the best ``quantile``, with that member's parameters explored. With fewer
    slots than members they take turns.

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
            compared at the same level, and let the worst copy before anybody moves on. Default
            False: a member is compared with the latest value of each other one.

    A member's step count follows its donor. A donor has a finite value and a checkpoint, both
    newer than the last time that it copied somebody itself, and is not complete: so no copy is of
    an old state, and the population always gets on. A member whose value is NaN
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
        require_number("interval", self.interval, 0)
        require_number("max_resource", self.max_resource, 0)
        require(
            self.interval <= self.max_resource,
            "interval",
            f"{self.interval!r} is above max_resource {self.max_resource!r}",
        )
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
        """Start the population, then exploit or resume the members that are ready."""
        index = history.index(self, lambda: _Population(self, history))
        if not history.exhausted:
            return Start(self._after(0))
        found = index.whose_turn()
        return None if found is None else self._go_on(history, index, *found)

    def check(self, space: Space) -> None:
        """Raise SpecError when ``mutations`` names what the space does not have."""
        known = space.domains()
        for path in self.mutations or ():
            if path not in known:
                problem = f"the space has no parameter '{path}'"
                raise SpecError("scheduler.mutations", problem, did_you_mean(path, known))

    def explore(
        self, params: Params, space: Space, rng: random.Random, history: History, clone: Clone
    ) -> Params:
        """Return a donor's parameters, each drawn anew or perturbed within its domain."""
        values = space.values(params)
        return space.build(lambda path, domain: self._explored(values, path, domain, rng))

    def _explored(
        self, values: Mapping[str, Any], path: str, domain: Domain, rng: random.Random
    ) -> Any:
        """Return the value of one parameter, given those of the donor."""
        if path in values and not self._may_change(path):
            return values[path]
        if path not in values or rng.random() < self.resample_probability:
            return domain.from_unit(rng.random())
        factor = self.factors[choose_index(rng, len(self.factors))]
        return perturb(domain, values[path], factor)

    def _may_change(self, path: str) -> bool:
        return self.mutations is None or path in self.mutations

    def _go_on(
        self, history: History, index: _Population, number: int, donors: Sequence[int]
    ) -> Decision:
        able = [donor for donor in donors if index.can_give(donor)]
        member = index.members[number]
        if not able:
            return Resume(number, self._after(member.level))
        rng = generator(history.seed, "donor", number, member.launches)
        donor = able[choose_index(rng, len(able))]
        return Clone(donor, number, self._after(index.members[donor].checkpoint_level))

    def _after(self, level: Resource) -> Resource:
        """Return the next multiple of the interval above a level, at most the maximum."""
        return next_multiple(level, self.interval, self.max_resource)


@dataclass(slots=True)
class _Member:
    """One member of the population as the facts have left it."""

    level: Resource = 0
    loss: float | None = None
    has_checkpoint: bool = False
    """Whether it has saved one since it last copied somebody."""
    checkpoint_level: Resource = 0
    launches: int = 0
    is_running: bool = False
    is_out: bool = False
    has_failed: bool = False


class _Population(Index):
    """The members, and those that are ready to go on."""

    def __init__(self, scheduler: PBT, history: History) -> None:
        self._rule = scheduler
        self._loss = history.loss
        self._is_whole = False
        self._ready: dict[int, tuple[int, ...] | None] = {}
        self.members: list[_Member] = []

    def whose_turn(self) -> tuple[int, tuple[int, ...]] | None:
        """Return the member that goes on next, and whom it may copy."""
        if not self._ready:
            return None
        number, donors = next(iter(self._ready.items()))
        return number, self._donors(number, self._ranked()) if donors is None else donors

    def can_give(self, donor: int) -> bool:
        """Whether a member may be copied now."""
        member = self.members[donor]
        return (
            not member.is_out
            and member.has_checkpoint
            and member.loss is not None
            and member.loss < math.inf
            and member.level < self._rule.max_resource
        )

    def apply(self, fact: Fact) -> None:
        """Take in the next fact, and see whether the population has come together."""
        super().apply(fact)
        self._pass_barrier()

    def stopped(self, fact: Stopped) -> None:
        """The member takes no further part."""
        self._leave(fact.trial)

    def exhausted(self, fact: Exhausted) -> None:
        """The population is complete."""
        self._is_whole = True

    def finished(self, fact: Finished) -> None:
        """Nobody takes any further part."""
        for trial in range(len(self.members)):
            self._leave(trial)

    def launched(self, fact: Launched) -> None:
        """The member is under way, possibly from another's checkpoint."""
        if fact.trial == len(self.members):
            self.members.append(_Member())
        member = self.members[fact.trial]
        member.is_running, member.is_out, member.has_failed = True, False, False
        member.launches += 1
        self._ready.pop(fact.trial, None)
        member.checkpoint_level = fact.start
        if fact.source is not None:
            member.level, member.loss, member.has_checkpoint = fact.start, None, False

    def reported(self, fact: Reported) -> None:
        """Note how good the member is, and what can be copied of it."""
        member, report = self.members[fact.trial], fact.report
        member.level, member.loss = report.resource, self._loss(report.metrics)
        if report.checkpoint is not None:
            member.has_checkpoint, member.checkpoint_level = True, report.resource

    def closed(self, fact: Closed) -> None:
        """The member is ready to go on, or out."""
        if fact.retry:
            return
        member = self.members[fact.trial]
        member.is_running = False
        if fact.status != "paused":
            member.has_failed = fact.status in ("failed", "lost") and not member.is_out
            self._leave(fact.trial)
        elif not self._rule.synchronous and self._can_go_on(member):
            self._ready[fact.trial] = None

    def _leave(self, trial: int) -> None:
        self.members[trial].is_out = True
        self._ready.pop(trial, None)

    def opened(self, fact: Opened) -> None:
        """Wait for the failed members, if they are tried again."""
        for member in self.members:
            if fact.retry_failed and member.has_failed:
                member.is_running, member.is_out = True, False

    def _can_go_on(self, member: _Member) -> bool:
        return not member.is_out and member.level < self._rule.max_resource

    def _pass_barrier(self) -> None:
        """Make the whole population ready when its last member has come in."""
        if not self._rule.synchronous or self._ready or not self._is_whole:
            return
        if any(member.is_running and not member.is_out for member in self.members):
            return
        ranked = self._ranked()
        going = [n for n, member in enumerate(self.members) if self._can_go_on(member)]
        donors = {number: self._donors(number, ranked) for number in going}
        self._ready |= {n: donors[n] for n in sorted(going, key=lambda n: not donors[n])}

    def _ranked(self) -> list[int]:
        """Return the members that have a value, best first; ties go to the lower number."""
        known = [
            (member.loss, number)
            for number, member in enumerate(self.members)
            if member.loss is not None and not member.is_out
        ]
        return [number for _, number in sorted(known)]

    def _donors(self, number: int, ranked: list[int]) -> tuple[int, ...]:
        """Return the best ones for one of the worst, and nobody for the others."""
        count = min(math.ceil(len(ranked) * exact(self._rule.quantile)), len(ranked) // 2)
        if count == 0 or number not in ranked[-count:]:
            return ()
        return tuple(ranked[:count])
