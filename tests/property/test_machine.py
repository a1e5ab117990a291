"""Any interleaving of drivers, workers, messages and failing storages leaves a study whole."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.interleaving import World
from tests.machine import make_study
from tuneflow import journal, store_urls
from tuneflow.budget import Budget, Plateau
from tuneflow.checkpointing import Keep
from tuneflow.errors import StorageError
from tuneflow.executors.base import Ended, Progress
from tuneflow.schedulers import ASHA, FIFO, PBT, Hyperband, MedianStopping, SuccessiveHalving
from tuneflow.testing.faulty_store import Fault, PowerCut

EXAMPLES = int(os.environ.get("TUNEFLOW_MACHINE_EXAMPLES", "0"))
"""How many random studies to play by hand; 0 plays a fixed choice of them."""

SCHEDULERS = st.sampled_from(
    [
        FIFO(max_resource=3),
        FIFO(),
        ASHA(max_resource=4, reduction_factor=2),
        ASHA(max_resource=4, reduction_factor=2, variant="stopping"),
        Hyperband(max_resource=4, reduction_factor=2),
        SuccessiveHalving(max_resource=4, reduction_factor=2),
        MedianStopping(max_resource=4, min_samples=1),
        PBT(max_resource=4, interval=2),
        PBT(max_resource=4, interval=2, synchronous=True),
    ]
)
BUDGETS = st.sampled_from(
    [
        Budget(),
        Budget(max_failures_per_trial=1, max_losses_per_trial=1),
        Budget(max_failures=1),
        Budget(total_resource=7),
        Budget(total_resource=9, max_losses_per_trial=1),
        Budget(wall_clock=50),
        Budget(trial_time=80),
        Budget(target=-2.5),
        Budget(plateau=Plateau(4, 3)),
    ]
)
WHICH = st.integers(0, 20)
LOSSES = st.integers(-3, 3).map(float) | st.sampled_from([math.nan, -math.inf, None])
ERRORS = st.sampled_from([PowerCut, lambda: StorageError("it fails")])
FAULTS = st.builds(Fault, st.integers(0, 8), st.booleans(), ERRORS)


@st.composite
def studies(draw):
    """Small studies of every kind of scheduler, budget and mode."""
    scheduler = draw(SCHEDULERS)
    return make_study(
        scheduler,
        budget=draw(BUDGETS),
        round_size=draw(st.none() | st.none() | st.just("all") | st.integers(1, 3)),
        max_concurrent=draw(st.none() | st.integers(1, 3)),
        seed=draw(st.integers(0, 9)),
        trials=4 if isinstance(scheduler, PBT) else 6,
    )


class Machine(RuleBasedStateMachine):
    """Everything that may happen to a study, in any order."""

    def __init__(self):
        super().__init__()
        self.world = None
        self.folder = Path(tempfile.mkdtemp(prefix="tuneflow-machine-"))
        self.bucket = uuid.uuid4().hex

    @initialize(study=studies(), slots=st.integers(1, 4))
    def begin(self, study, slots):
        self.world = World(study, f"memory://{self.bucket}", self.folder, slots)
        self.world.open_driver()

    def teardown(self):
        try:
            if self.world is not None:
                self.world.finish()
                self.world.replay()
        finally:
            if self.world is not None:
                self.world.end()
            store_urls._memory.pop(self.bucket, None)
            shutil.rmtree(self.folder, ignore_errors=True)

    @invariant()
    def it_is_whole(self):
        if self.world is not None:
            self.world.audit()

    def run_at(self, which):
        return self.world.runs[which % len(self.world.runs)]

    def driver_at(self, which):
        return self.world.drivers[which % len(self.world.drivers)]

    has_runs = precondition(lambda self: self.world.runs)
    has_drivers = precondition(lambda self: self.world.drivers)

    # Workers.

    @has_runs
    @rule(which=WHICH, loss=LOSSES, is_saved=st.booleans() | st.just(True))
    def report(self, which, loss, is_saved):
        self.run_at(which).act("report", loss, is_saved)

    @has_runs
    @rule(which=WHICH, deed=st.sampled_from(["complete", "fail"]))
    def end_by_itself(self, which, deed):
        self.run_at(which).act(deed)

    @has_runs
    @rule(which=WHICH, is_told=st.booleans(), goes_on=st.booleans())
    def lose_worker(self, which, is_told, goes_on):
        """A worker is out of reach; it may be dead, or go on as a zombie."""
        run = self.run_at(which)
        was_zombie, run.is_zombie = run.is_zombie, True
        if not goes_on:
            run.die()
        if was_zombie:
            return
        if is_told:
            run.executor.lose(run)
        else:
            run.executor.launch(run.segment)

    @has_runs
    @rule(which=WHICH)
    def preempt_worker(self, which):
        self.run_at(which).control.preempt()

    @has_runs
    @rule(which=WHICH, fault=FAULTS)
    def break_storage_of_worker(self, which, fault):
        self.run_at(which).store.plan(fault)

    # Messages.

    @has_drivers
    @rule(which=WHICH, whose=WHICH, count=st.integers(1, 3), is_twice=st.booleans())
    def deliver(self, which, whose, count, is_twice):
        driver = self.driver_at(which)
        runs = [run for run in (*driver.cluster.over, *driver.cluster.live.values()) if run.unheard]
        if runs:
            driver.cluster.deliver(runs[whose % len(runs)], count, is_twice)
        driver.turn()

    @has_drivers
    @rule(which=WHICH, whose=WHICH)
    def deliver_again(self, which, whose):
        """Something that was said long ago comes once more."""
        driver = self.driver_at(which)
        kinds = Progress if self.world.study.in_rounds else Progress | Ended
        said = [message for message in driver.cluster.said if isinstance(message, kinds)]
        if said:
            driver.cluster.inbox.append(said[whose % len(said)])
        driver.turn()

    @rule(steps=st.integers(1, 4), loss=st.integers(-2, 3).map(float), is_tidy=st.booleans())
    def go_well(self, steps, loss, is_tidy):
        """For some time nothing goes wrong; old checkpoints may be removed meanwhile."""
        for _ in range(steps):
            for position, run in enumerate(self.world.live_runs):
                run.act("report", loss + position / 10, True)
            self.world.hear_all()
            if is_tidy and self.world.drivers:
                self.world.collect(self.world.drivers[-1], Keep(0, 0))

    # Drivers.

    @rule(retry_failed=st.booleans())
    def open_driver(self, retry_failed):
        """Go on with a study that has no driver, or take it over from the one it has."""
        if len(self.world.drivers) < 2:
            self.world.open_driver(retry_failed)

    @has_drivers
    @rule(which=WHICH)
    def kill_driver(self, which):
        self.driver_at(which).cut()

    @has_drivers
    @rule(which=WHICH, fault=FAULTS)
    def break_storage_of_driver(self, which, fault):
        self.driver_at(which).store.plan(fault)

    @has_drivers
    @rule(which=WHICH)
    def interrupt_driver(self, which):
        driver = self.driver_at(which)
        driver.interrupts.request()
        driver.turn()

    @has_drivers
    @rule(which=WHICH, last=st.sampled_from([0, 0, 1]), best=st.sampled_from([0, 0, 1]))
    def collect(self, which, last, best):
        self.world.collect(self.driver_at(which), Keep(last, best))

    @rule(seconds=st.integers(1, 30))
    def let_time_pass(self, seconds):
        self.world.clock += seconds


@pytest.mark.timeout(300)
def test_a_study_stays_whole_in_any_interleaving(monkeypatch):
    monkeypatch.setattr(journal, "SNAPSHOT_EVERY", 5)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES or 80,
            stateful_step_count=40,
            deadline=None,
            derandomize=not EXAMPLES,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=True,
        ),
    )
