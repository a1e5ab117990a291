"""Searchers that go by levels keep their laws beside schedulers, whatever the trials do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuneflow import schedulers
from tuneflow.events import Launched
from tuneflow.searchers import BOHB, DEHB
from tuneflow.space import Categorical, Float, Int, Space, branch
from tuneflow.testing.world import World, fates

OPTIONS = {"u": {"n": Int(1, 8)}, "v": {"k": Categorical(("a", "b", "c")), "z": Float(0, 1)}}
SPACE = Space({"rate": Float(1e-4, 1, log=True), "b": branch(OPTIONS)})
SCHEDULERS = [
    schedulers.BOHB(max_resource=9),
    schedulers.DEHB(max_resource=9),
    schedulers.ASHA(max_resource=9, reduction_factor=3),
    schedulers.ASHA(max_resource=9, reduction_factor=3, variant="stopping"),
    schedulers.PBT(max_resource=6, interval=2),
    schedulers.FIFO(),
]


@st.composite
def worlds(draw, scheduler, searcher):
    """A study that has a searcher."""
    size = draw(st.none() | st.just("all") | st.just(5))
    trials, slots = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    world = World(scheduler, draw(fates()), trials=trials, slots=slots, round_size=size)
    world.study = replace(world.study, searcher=searcher, space=SPACE)
    world.history = world.study.history()
    return world


@pytest.mark.parametrize("searcher", [BOHB, DEHB])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: scheduler.type)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_searcher_made_anew_proposes_what_was_launched(searcher, scheduler, data):
    world = data.draw(worlds(scheduler, searcher()))
    facts = world.run().facts
    for position, fact in enumerate(facts):
        is_start = isinstance(fact, Launched) and (fact.segment, fact.attempt) == (0, 0)
        if is_start and fact.trial % 6 == 5:
            assert SPACE.contains(fact.params)
            rebuilt = world.rebuilt(facts[:position])
            until = scheduler.next(rebuilt).until
            assert searcher().suggest(SPACE, rebuilt, until) == fact.params
