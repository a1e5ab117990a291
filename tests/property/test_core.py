"""What holds of every history, whatever happens in whatever order."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.budget import Budget
from tuneflow.events import Closed, Launched, Reported, decode, encode
from tuneflow.schedulers import ASHA, FIFO, PBT, Hyperband, MedianStopping, SuccessiveHalving
from tuneflow.testing.world import World, fates
from tuneflow.trial import TrialState

SCHEDULERS = [
    FIFO(),
    FIFO(max_resource=3),
    SuccessiveHalving(max_resource=9),
    Hyperband(max_resource=9),
    ASHA(max_resource=9, reduction_factor=2),
    ASHA(max_resource=9, reduction_factor=2, variant="stopping", brackets=2),
    MedianStopping(max_resource=5, min_samples=1),
    PBT(max_resource=6, interval=2),
    PBT(max_resource=6, interval=2, synchronous=True),
]
BUDGETS = st.sampled_from(
    [
        Budget(),
        Budget(max_failures_per_trial=2, max_losses_per_trial=0),
        Budget(max_failures=1),
        Budget(fail_fast=True, max_losses_per_trial=1),
        Budget(total_resource=25),
        Budget(target=-2.0),
    ]
)


@st.composite
def worlds(draw):
    return World(
        draw(st.sampled_from(SCHEDULERS)),
        draw(fates()),
        trials=draw(st.integers(1, 15)),
        slots=draw(st.integers(1, 20)),
        round_size=draw(st.none() | st.just("all") | st.integers(1, 5)),
        budget=draw(BUDGETS),
        seed=draw(st.integers(0, 99)),
    )


def check(history):
    """Compare what the history has folded with what its facts say when they are counted."""
    states = Counter(trial.state for trial in history.trials)
    assert states == +history.counts
    assert list(history.running) == [
        n for n in history.running if history.trials[n].state is TrialState.RUNNING
    ]
    assert len(history.running) == states[TrialState.RUNNING]
    assert all(trial.state is TrialState.PAUSED for trial in history.retries.values())
    facts = history.facts
    reports = defaultdict(list)
    for fact in facts:
        if isinstance(fact, Reported):
            reports[fact.trial].append(fact.report)
    assert [trial.reports for trial in history.trials] == [
        reports[trial.number] for trial in history.trials
    ]
    launched = Counter(fact.trial for fact in facts if isinstance(fact, Launched))
    closed = Counter(fact.trial for fact in facts if isinstance(fact, Closed))
    assert {n: launched[n] - closed[n] for n in launched} == {
        trial.number: int(trial.number in history.running) for trial in history.trials
    }
    assert math.isclose(history.spent, spent(facts))


def spent(facts):
    """Return the resource of all reports, the slow way."""
    level, total = defaultdict(float), 0.0
    for fact in facts:
        if isinstance(fact, Launched) and fact.source is not None:
            level[fact.trial] = fact.start
        elif isinstance(fact, Reported):
            total += fact.report.resource - level[fact.trial]
            level[fact.trial] = fact.report.resource
    return total


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_the_fold_agrees_with_its_facts_after_every_turn(world):
    going = True
    while going:
        going = world.turn()
        check(world.history)
    assert world.history.state in ("finished", "halted")


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_a_history_is_what_its_journal_says(world):
    history = world.run()
    lines = [encode(fact) for fact in history.facts]
    restored = world.rebuilt([decode(line) for line in lines])
    assert [encode(fact) for fact in restored.facts] == lines
    assert [repr(trial) for trial in restored.trials] == [repr(trial) for trial in history.trials]
    for name in ("spent", "counts", "state", "exhausted", "best_loss", "closings_since_best"):
        assert getattr(restored, name) == getattr(history, name)


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_levels_rise_within_a_lineage(world):
    level = {}
    for fact in world.run().facts:
        if isinstance(fact, Launched) and fact.source is not None:
            level[fact.trial] = fact.start
        elif isinstance(fact, Reported):
            assert fact.report.resource > level.get(fact.trial, 0)
            level[fact.trial] = fact.report.resource


def most_losses_in_a_row(history):
    """Return how often a trial was tried again, without a new level, after its worker was lost."""
    counts, most = Counter(), 0
    for fact in history.facts:
        if isinstance(fact, Reported):
            counts[fact.trial] = 0
        elif isinstance(fact, Closed) and fact.status == "lost" and fact.retry:
            counts[fact.trial] += 1
            most = max(most, counts[fact.trial])
    return most


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_a_budget_is_kept(world):
    history, budget = world.run(), world.study.budget
    tries = Counter(
        fact.status for fact in history.facts if isinstance(fact, Closed) and fact.retry
    )
    assert tries["failed"] <= budget.max_failures_per_trial * len(history.trials)
    assert most_losses_in_a_row(history) <= budget.max_losses_per_trial
    if history.halted is None:
        allowed = 0 if budget.fail_fast else budget.max_failures
        assert allowed is None or history.failed_since_opened <= allowed
    if budget.total_resource is not None and world.watched.limit is not None:
        assert history.spent <= budget.total_resource
