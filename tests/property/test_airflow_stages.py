"""A DAG has enough stages for whatever the trials come to."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuneflow.airflow.stages import MOST, bound
from tuneflow.budget import Budget
from tuneflow.recording import record_outcome
from tuneflow.schedulers import (
    ASHA,
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
from tuneflow.testing.world import METRIC, World, fates
from tuneflow.trial import Outcome, Report

HARMLESS = Budget(max_failures=1_000_000)
"""Failures neither halt the study nor are they tried again."""

RESOURCES = st.sampled_from([1, 3, 4, 9, 16, 27, 81])
FACTORS = st.sampled_from([2, 2.5, 3, 4])


@st.composite
def schedulers(draw):
    resource, factor = draw(RESOURCES), draw(FACTORS)
    step = max(1, resource // draw(st.integers(1, 6)))
    return draw(
        st.sampled_from(
            [
                FIFO(),
                FIFO(max_resource=resource),
                SuccessiveHalving(max_resource=resource, reduction_factor=factor),
                SuccessiveHalving(max_resource=resource, n_trials=7),
                Hyperband(max_resource=resource, reduction_factor=factor),
                Hyperband(max_resource=resource, reduction_factor=factor, sizes="hpbandster"),
                DEHB(max_resource=resource, reduction_factor=factor),
                ASHA(max_resource=resource, reduction_factor=factor),
                ASHA(max_resource=resource, reduction_factor=factor, variant="stopping"),
                ASHA(max_resource=27, reduction_factor=3, variant="stopping", brackets=2),
                MOASHA(max_resource=resource, reduction_factor=factor),
                MedianStopping(max_resource=resource, interval=step),
                MedianStopping(max_resource=resource, interval=step, min_samples=1),
                PBT(max_resource=resource, interval=step),
                PBT(max_resource=resource, interval=step, quantile=0.5),
                PBT(max_resource=resource, interval=step, synchronous=True),
            ]
        )
    )


@st.composite
def sizes(draw):
    """A number of trials, and the size of their rounds."""
    trials = draw(st.integers(1, 40))
    return trials, draw(st.just("all") | st.integers(1, trials + 2))


VALUES = st.lists(
    st.integers(-3, 3).map(float) | st.floats() | st.just(math.nan), min_size=1, max_size=30
)


def rounds(world, value):
    """Run a study whose segments all get where they are sent; return how many rounds it takes."""
    study, history = world.study, world.history
    world.decide()
    count = segments = 0
    while history.running:
        count += 1
        for segment in sorted(history.open_segments(), key=lambda one: one.key):
            level = segment.until or segment.start + 1
            report = Report(level, {METRIC: value(segments)}, str(segment.key))
            status = "paused" if segment.until else "completed"
            record_outcome(study, history, Outcome(*segment.key, status, (report,)))
            segments += 1
        world.decide()
    return count


def made(scheduler, trials, size, *, fate=(), budget=HARMLESS, seed=0):
    return World(scheduler, fate, trials=trials, round_size=size, budget=budget, seed=seed)


def most(study):
    """Return the bound; infinity where it says no more than that there are many rounds."""
    needed = bound(study)
    return needed if needed <= MOST else math.inf


def saving(fate):
    """Return a fate with whose reports there is a checkpoint, so that copies are up to date."""
    return replace(fate, which=3 * fate.which + 1)


@settings(deadline=None, max_examples=100)
@given(schedulers(), sizes(), VALUES, st.integers(0, 9))
def test_no_values_of_the_metric_take_more_rounds_than_the_bound(scheduler, size, values, seed):
    world = made(scheduler, *size, seed=seed)
    assert rounds(world, lambda n: values[n % len(values)]) <= most(world.study)


@settings(deadline=None, max_examples=100)
@given(RESOURCES, FACTORS, sizes(), VALUES, st.booleans())
def test_cheap_trials_and_unlocked_rungs_do_not_take_more(resource, factor, size, values, cheap):
    if cheap:
        scheduler = CostASHA(resource, cost=METRIC, reduction_factor=factor)
    else:
        scheduler = PASHA(resource, reduction_factor=factor)
    world = made(scheduler, *size)
    study = replace(world.study, scheduler=scheduler)
    assert rounds(world, lambda n: values[n % len(values)]) <= most(study)


@settings(deadline=None, max_examples=100)
@given(schedulers(), sizes(), st.integers(0, 60), st.booleans())
@example(ASHA(max_resource=81), (13, 11), 0, True)
@example(ASHA(max_resource=81, reduction_factor=3), (22, 20), 0, True)
@example(ASHA(max_resource=81, reduction_factor=2), (24, 13), 0, True)
def test_trials_that_become_ever_better_or_worse_do_not_take_more(scheduler, size, turn, rising):
    world = made(scheduler, *size)
    way = -1.0 if rising else 1.0
    assert rounds(world, lambda n: way * abs(n - turn)) <= most(world.study)


@settings(deadline=None, max_examples=100)
@given(schedulers(), sizes(), fates())
def test_trials_that_fail_or_end_early_do_not_take_more(scheduler, size, fate):
    once = Budget(max_failures=1_000_000, max_losses_per_trial=0)
    world = made(scheduler, *size, fate=[saving(one) for one in fate], budget=once)
    count = 0
    while world.turn():
        count += 1
    assert count <= most(world.study)


@settings(deadline=None, max_examples=60)
@given(schedulers(), sizes())
def test_the_bound_is_near_what_a_study_takes(scheduler, size):
    world = made(scheduler, *size)
    # Members of a population that copy one another get on faster, and these have no values.
    is_population = isinstance(scheduler, PBT)
    taken = rounds(world, lambda n: math.nan if is_population else -float(n))
    longest = bound(made(scheduler, size[0], 1).study) / size[0]
    assert taken <= most(world.study)
    assert bound(world.study) <= 1.5 * taken + longest + 5


@settings(deadline=None, max_examples=10)
@given(schedulers(), st.integers(200, 700), st.integers(8, 300))
def test_the_bound_of_a_large_study_is_enough(scheduler, trials, size):
    world = made(scheduler, trials, size)
    needed = bound(world.study)
    if needed <= MOST:
        assert rounds(world, lambda n: -float(n)) <= needed
