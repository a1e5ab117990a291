"""Every scheduler copes with trials that a stopper ends, and a replay stops the same ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.events import Finished
from tuneflow.schedulers import (
    ASHA,
    BOHB,
    DEHB,
    FIFO,
    MOASHA,
    PASHA,
    PBT,
    CostASHA,
    Hyperband,
    MedianStopping,
    SuccessiveHalving,
)
from tuneflow.stoppers import Combined, ExperimentPlateau, MaxResource, TrialPlateau
from tuneflow.study import decide
from tuneflow.testing.schedulers import repetition
from tuneflow.testing.world import World, fates
from tuneflow.trial import TrialState

SCHEDULERS = [
    FIFO(max_resource=6),
    FIFO(),
    SuccessiveHalving(max_resource=9),
    Hyperband(max_resource=9),
    BOHB(max_resource=9),
    DEHB(max_resource=9),
    ASHA(max_resource=9, reduction_factor=2),
    ASHA(max_resource=9, reduction_factor=2, brackets=2, variant="stopping"),
    PASHA(max_resource=9, reduction_factor=2),
    CostASHA(max_resource=9, cost="loss", reduction_factor=2),
    MOASHA(max_resource=9, reduction_factor=2),
    MedianStopping(max_resource=6),
    PBT(max_resource=6, interval=2),
    PBT(max_resource=6, interval=2, synchronous=True),
]
STOPPERS = [
    (TrialPlateau(std=3, num_results=2, grace_period=0, interval=2),),
    (MaxResource(3), ExperimentPlateau(std=0.3, top=6)),
    (Combined((MaxResource(2), TrialPlateau(std=9, num_results=2, grace_period=0)), mode="all"),),
]


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: scheduler.type)
@settings(deadline=None, max_examples=25)
@given(
    fates(),
    st.sampled_from(STOPPERS),
    st.sampled_from([(1, None), (4, None), (20, None), (1, "all"), (1, 3)]),
)
def test_every_scheduler_copes_with_trials_that_stoppers_end(scheduler, fate, stop, way):
    slots, rounds = way
    world = World(scheduler, fate, trials=12, slots=slots, round_size=rounds, seed=5)
    world.study = replace(world.study, stop=stop)
    history = world.run()
    assert history.state == "finished"
    assert history.counts[TrialState.RUNNING] + history.counts[TrialState.PAUSED] == 0
    assert repetition(history.facts) is None
    ended = [fact for fact in history.facts if isinstance(fact, Finished)]
    if not ended[-1].reason.startswith("the best"):
        assert len(history.trials) == 12
        assert scheduler.next(history) is None


@settings(deadline=None, max_examples=40)
@given(fates(), st.sampled_from(STOPPERS), st.sampled_from(SCHEDULERS), st.integers(1, 10))
def test_a_replay_stops_where_the_study_stopped(fate, stop, scheduler, often):
    world = World(scheduler, fate, trials=10, slots=4, seed=5)
    world.study = replace(world.study, stop=stop)
    turn, going = 0, True
    while going:
        known = len(world.history.facts)
        fresh = world.rebuilt() if turn % often == 0 else None
        going = world.turn()
        if fresh is not None:
            decided = decide(world.study, fresh, world.slots)
            assert decided == world.history.facts[known : known + len(decided)]
        turn += 1
