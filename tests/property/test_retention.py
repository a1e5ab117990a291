"""What a study needs of its checkpoints only ever shrinks, whatever its trials do."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.machine import make_study
from tests.places import new_url, open_study, simulated
from tuneflow import stream
from tuneflow.checkpointing import Keep
from tuneflow.events import Closed, Launched, Reported
from tuneflow.retention import kept
from tuneflow.retune.measuring import candidate
from tuneflow.schedulers import (
    ASHA,
    BOHB,
    DEHB,
    FIFO,
    MOASHA,
    PASHA,
    PB2,
    PBT,
    CostASHA,
    Hyperband,
    MedianStopping,
    PBTReplay,
    ResourceChanging,
    SuccessiveHalving,
)
from tuneflow.store import Store
from tuneflow.testing.world import World, fates
from tuneflow.trial import TrialState

STEP = {"rate": 0.1, "layers": 1, "kind": "a", "start": 0}
SCHEDULERS = {
    "fifo": FIFO(max_resource=4),
    "fifo without an end": FIFO(),
    "successive halving": SuccessiveHalving(max_resource=9),
    "hyperband": Hyperband(max_resource=9),
    "bohb": BOHB(max_resource=9),
    "dehb": DEHB(max_resource=9),
    "asha": ASHA(max_resource=9, reduction_factor=2),
    "asha that stops": ASHA(max_resource=9, reduction_factor=2, variant="stopping", brackets=2),
    "pasha": PASHA(max_resource=12, reduction_factor=2),
    "cost asha": CostASHA(max_resource=9, cost="loss", reduction_factor=2, brackets=2),
    "mo asha": MOASHA(max_resource=9, reduction_factor=2),
    "median": MedianStopping(max_resource=6),
    "pbt": PBT(max_resource=6, interval=2),
    "pbt of copies": PBT(max_resource=9, interval=1, quantile=0.5),
    "synchronous pbt": PBT(max_resource=6, interval=1.5, quantile=0.5, synchronous=True),
    "pb2": PB2(max_resource=6, interval=2),
    "pbt replay": PBTReplay(
        ({"until": 2, "params": STEP}, {"until": 6, "params": {**STEP, "layers": 2}})
    ),
    "shared resources": ResourceChanging(PBT(max_resource=6, quantile=0.5), total={"gpu": 8}),
}
KEEPS = st.builds(Keep, last=st.none() | st.integers(0, 2), best=st.none() | st.integers(0, 3))
SOME = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(study, facts, keep):
    """Make sure that what is not kept any more after some fact is of no use after it."""
    history, known, gone, origins = study.history(), set(), set(), {}
    for fact in facts:
        history.append(fact)
        if isinstance(fact, Launched):
            origins[fact.trial] = fact.checkpoint
        elif isinstance(fact, Closed):
            del origins[fact.trial]
        elif isinstance(fact, Reported):
            known.add(fact.report.checkpoint)
        needed = kept(study, history, keep)
        assert needed <= known
        assert not needed & gone, "kept again"
        gone = known - needed - {None}
        assert not gone & set(origins.values()), "a running segment began there"
        assert not gone & set(used_later(history)), "somebody may go on or begin from there"
    again = study.history()
    again.extend(facts)
    assert kept(study, again, keep) == kept(study, history, keep)


def used_later(history):
    """Yield what may be gone on with, copied, tried again, downloaded or begun with."""
    for trial in history.trials:
        if trial.state in (TrialState.RUNNING, TrialState.PAUSED, TrialState.FAILED):
            yield trial.checkpoint
    best = history.best()
    if best is not None:
        yield best.checkpoint
    if len(history.objectives) > 1:
        yield from (trial.checkpoint for trial in history.pareto_front())


@pytest.mark.parametrize("name", SCHEDULERS)
@SOME
@given(
    data=st.data(),
    keep=KEEPS,
    fates=fates(),
    trials=st.integers(1, 12),
    slots=st.integers(1, 20),
    round_size=st.none() | st.just("all") | st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_what_is_not_kept_is_never_used_again(
    *, name, data, keep, fates, trials, slots, round_size, seed
):
    world = World(
        SCHEDULERS[name], fates, trials=trials, slots=slots, round_size=round_size, seed=seed
    )
    world.run()
    for _ in range(data.draw(st.integers(0, 2))):
        world.reopen()
        world.run()
    check(world.study, world.history.facts, keep)


@pytest.mark.parametrize("name", ["pbt", "pbt of copies", "synchronous pbt", "asha", "fifo"])
@SOME
@given(
    keep=KEEPS,
    trials=st.integers(2, 10),
    workers=st.integers(1, 10),
    failure_rate=st.sampled_from([0, 0.02, 0.2]),
    preemption_rate=st.sampled_from([0, 100]),
    spread=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**32),
)
def test_so_it_is_on_a_cluster_with_several_metrics_and_bounds(
    *, name, keep, trials, workers, failure_rate, preemption_rate, spread, seed
):
    def curve(config, resource):
        x = config["x"]
        return {
            "loss": (x - 0.3) ** 2 + math.sin(9 * x * resource) / (1 + resource),
            "size": abs(x - 0.8) / resource,
            "latency": x,
        }

    study = make_study(
        SCHEDULERS[name],
        trials=trials,
        seed=seed,
        other_metrics={"size": "min"},
        constraints=("latency <= 0.7",),
    )
    cluster = simulated(
        curve,
        workers=workers,
        straggler_spread=spread,
        failure_rate=failure_rate,
        preemption_rate=preemption_rate,
        seed=seed,
    )
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, cluster)
    check(study, opened.history.facts, keep)


@SOME
@given(fates=fates(), trials=st.integers(1, 12), seed=st.integers(0, 2**32), keep=KEEPS)
def test_a_retune_finds_the_checkpoint_of_the_trial_that_it_begins_with(fates, trials, seed, keep):
    world = World(SCHEDULERS["asha"], fates, trials=trials, seed=seed)
    world.run()
    needed, found = kept(world.study, world.history, keep), candidate_of(world)
    assert found is None or found.checkpoint in {*needed, None}


def candidate_of(world):
    class Opened:
        history = world.history

    return candidate(Opened)
