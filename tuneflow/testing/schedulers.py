"""The laws that every scheduler keeps, as a test suite to inherit from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneflow.events import Fact, Launched, Opened, Stopped
from tuneflow.history import History
from tuneflow.plugins import build
from tuneflow.schedulers.base import Clone, Decision, Resume, Scheduler, Start, Stop
from tuneflow.stoppers import MaxResource, Stopper, TrialPlateau
from tuneflow.study import decide
from tuneflow.testing.world import Fate, World, fates
from tuneflow.trial import Resource, TrialState

_SEEDS: Final = st.integers(0, 2**32)
_SLOTS: Final = st.integers(1, 50)
_ROUNDS: Final = st.just("all") | st.integers(1, 9)

_STOPPERS: Final = (
    MaxResource(2),
    TrialPlateau(std=3, num_results=2, grace_period=0, interval=2),
)

RoundSize = int | Literal["all"] | None


class SchedulerSuite(ABC):
    """Checks a scheduler against the laws of `tuneflow.schedulers.base.Scheduler`.

    Inherit from it in a test module, with a name that pytest collects:

        class TestMine(SchedulerSuite):
            def make(self):
                return Mine(max_resource=9)

    Trials report anything, NaN included, fail, are lost, end early and straggle, with 1 to 50
    slots, streaming and in rounds. Keep the levels small: a study takes every single step. Needs
    pytest and hypothesis.
    """

    trials: ClassVar[int] = 20
    """How many trials a study of the suite has at most."""

    examples: ClassVar[int] = 25
    """How many studies hypothesis makes for each law."""

    @abstractmethod
    def make(self) -> Scheduler:
        """Return a new scheduler."""

    # The laws.

    def test_a_study_ends_whatever_its_trials_do(self) -> None:
        """Every trial is begun, none is left running, and then there is nothing more to do."""

        def law(world: World) -> None:
            history = world.run()
            hold(history.state == "finished", f"the study was left {history.state}")
            most = world.study.trial_limit
            hold(len(history.trials) == most, f"{len(history.trials)} of {most} trials were begun")
            waiting = history.counts[TrialState.RUNNING] + history.counts[TrialState.PAUSED]
            hold(waiting == 0, f"{waiting} trials are neither done nor given up")
            for _ in range(2):
                decision = self.make().next(history)
                hold(decision is None, f"after the end it wants {decision}")

        self._for_all(law, self._worlds())

    def test_it_launches_only_what_may_be_launched(self) -> None:
        """No trial that runs, is final or waits for a retry, and none beyond its end."""

        def law(world: World) -> None:
            history = world.run()
            replayed = world.study.history()
            for count, decision in world.watched.answers:
                replayed.extend(history.facts[len(replayed.facts) : count])
                problem = illegal(replayed, decision)
                hold(problem is None, f"{decision} after {count} facts: {problem}")

        self._for_all(law, self._worlds())

    def test_it_asks_for_nothing_twice(self) -> None:
        """No trial runs to a level twice but for a retry or a clone, nor is stopped twice."""

        def law(world: World) -> None:
            repeated = repetition(world.run().facts)
            hold(repeated is None, f"it asked for {repeated} twice")

        self._for_all(law, self._worlds())

    def test_a_replayed_history_gives_the_same_decisions(self) -> None:
        """A scheduler made anew answers as the first did, asked all along or only once."""

        def law(world: World, often: int) -> None:
            facts = world.run().facts
            replayed, fresh = world.study.history(), self.make()
            for position, (count, decision) in enumerate(world.watched.answers):
                replayed.extend(facts[len(replayed.facts) : count])
                found = fresh.next(replayed)
                hold(found == decision, f"{decision} became {found} after {count} facts")
                if position % often == 0:
                    found = self.make().next(world.rebuilt(facts[:count]))
                    hold(found == decision, f"asked late, {decision} became {found}")

        self._for_all(law, self._worlds(), st.integers(5, 20))

    def test_more_slots_only_add_decisions(self) -> None:
        """What is decided for k slots comes first in what is decided for more."""

        def law(world: World, more: int, often: int) -> None:
            turns = 0
            going = True
            while going:
                turns += 1
                if turns % often == 0:
                    self._compare(world, more)
                going = world.turn()

        self._for_all(law, self._streams(), st.integers(1, 50), st.integers(1, 15))

    def test_it_copes_with_trials_that_stoppers_end(self) -> None:
        """Such a trial goes on no more, and nobody waits for it."""

        def law(world: World, stopper: Stopper) -> None:
            world.study = replace(world.study, stop=(stopper,))
            history = world.run()
            hold(history.state == "finished", f"the study was left {history.state}")
            repeated = repetition(history.facts)
            hold(repeated is None, f"it asked for {repeated} twice")
            decision = self.make().next(history)
            hold(decision is None, f"after the end it wants {decision}")

        self._for_all(law, self._worlds(), st.sampled_from(_STOPPERS))

    def test_failed_trials_can_be_tried_again(self) -> None:
        """A study that has finished is opened again, and ends again."""

        def law(world: World) -> None:
            failed = world.run().counts[TrialState.FAILED]
            world.reopen()
            first = len(world.history.facts)
            history = world.run()
            again = {f.trial for f in history.facts[first:] if isinstance(f, Launched)}
            hold(len(again) == failed, f"{failed} trials had failed, {len(again)} ran again")
            hold(history.state == "finished", f"the study was left {history.state}")

        self._for_all(law, self._worlds())

    def test_its_horizon_lies_ahead(self) -> None:
        """A segment of a round ends above where it began, and no later than it is told to."""
        scheduler = self.make()
        limit = scheduler.limit
        level: Resource = 0
        for _ in range(1000):
            goal = scheduler.horizon(level, limit)
            if goal is None or (limit is not None and level >= limit):
                return
            hold(goal > level, f"from {level} a segment would go to {goal}")
            hold(limit is None or goal <= limit, f"{goal} is beyond {limit}")
            level = goal

    def test_its_json_form_makes_the_same_scheduler(self) -> None:
        """What a study file says of it is all that it is."""
        scheduler = self.make()
        fields = scheduler.to_json()
        named = fields.pop("type")
        hold(named == scheduler.type, f"{named} is not {scheduler.type}")
        again = build(type(scheduler), fields, "scheduler")
        hold(again == scheduler, f"{scheduler} became {again}")

    # How they are checked.

    def _worlds(self) -> st.SearchStrategy[World]:
        return self._streams() | self._made(st.just(1), _ROUNDS)

    def _streams(self) -> st.SearchStrategy[World]:
        return self._made(_SLOTS, st.none())

    def _made(
        self, slots: st.SearchStrategy[int], rounds: st.SearchStrategy[Any]
    ) -> st.SearchStrategy[World]:
        def make(
            fates: list[Fate], trials: int, slots: int, round_size: RoundSize, seed: int
        ) -> World:
            return World(
                self.make(), fates, trials=trials, slots=slots, round_size=round_size, seed=seed
            )

        return st.builds(make, fates(), st.integers(1, self.trials), slots, rounds, _SEEDS)

    def _compare(self, world: World, more: int) -> None:
        few, many = world.rebuilt(), world.rebuilt()
        known = len(few.facts)
        decide(world.study, few, world.slots)
        decide(world.study, many, world.slots + more)
        expected, found = few.facts[known:], many.facts[known:]
        hold(
            found[: len(expected)] == expected,
            f"{world.slots:g} slots gave {expected}, {more} more gave {found}",
        )

    def _for_all(self, law: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
        # Made here, as hypothesis does not like one test to run in several classes.
        checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
        some = settings(max_examples=self.examples, deadline=None, suppress_health_check=checks)
        some(given(*strategies)(law))()


def illegal(history: History, decision: Decision | None) -> str | None:
    """Return why a decision breaks a law after the facts of this history, or None."""
    if decision is None:
        return None
    if isinstance(decision, Start):
        return "there are to be no more trials" if history.exhausted else None
    if isinstance(decision, Stop):
        trial = history.trials[decision.trial]
        if trial.state.is_final or trial.stopping is not None:
            return f"the trial is {trial.state} and told to stop"
        return None
    return _illegal_launch(history, decision)


def _illegal_launch(history: History, decision: Resume | Clone) -> str | None:
    trial = history.trials[decision.trial]
    if trial.state is not TrialState.PAUSED:
        return f"the trial is {trial.state}"
    if trial.number in history.retries:
        return None  # `decide` passes it over: retries come first
    level = trial.resource
    if isinstance(decision, Clone):
        source = history.trials[decision.source]
        if source.checkpoint is None or source.number == trial.number:
            return f"trial {source.number} cannot be copied: its checkpoint is {source.checkpoint}"
        level = source.checkpoint_resource
    limit = math.inf if history.max_resource is None else history.max_resource
    if decision.until is not None and not level < decision.until <= limit:
        return f"it is at {level}, and {limit} is the end"
    return None


def repetition(facts: Sequence[Fact]) -> tuple[int, Any] | None:
    """Return what was launched or stopped twice, with its level or reason; None when nothing."""
    levels: dict[int, set[Resource | None]] = {}
    stopped: set[int] = set()
    for fact in facts:
        if isinstance(fact, Opened):
            stopped.clear()
        elif isinstance(fact, Stopped):
            if fact.trial in stopped:
                return fact.trial, fact.reason
            stopped.add(fact.trial)
        elif isinstance(fact, Launched) and not fact.attempt:
            seen = levels.setdefault(fact.trial, set())
            if fact.source is not None:
                seen.clear()
            if fact.until in seen:
                return fact.trial, fact.until
            seen.add(fact.until)
    return None


def hold(condition: bool, problem: str) -> None:
    """Fail a test with a sentence; an assert would not say as much outside of a test module."""
    if not condition:
        raise AssertionError(problem)
