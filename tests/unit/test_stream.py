"""Streaming: decide, commit, and only then act."""

from __future__ import annotations

import itertools

import pytest

from tests.machine import NAN, make_study
from tests.places import (
    PowerCut,
    crashes,
    journal_bytes,
    new_url,
    open_study,
    simulated,
)
from tuneflow import journal as journal_module
from tuneflow import stream
from tuneflow.budget import Budget
from tuneflow.errors import StudyConflictError
from tuneflow.events import Closed, Elapsed, Finished, Halted, Launched, Opened, Reported, Stopped
from tuneflow.executors.base import Progress
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.interrupt import Interrupts
from tuneflow.outcomes import write_outcome
from tuneflow.schedulers import ASHA, FIFO, PBT, Hyperband, MedianStopping, SuccessiveHalving
from tuneflow.store import Store
from tuneflow.trial import Outcome, TrialState

FLAKY = {"failure_rate": 0.03, "preemption_rate": 100.0, "straggler_spread": 0.5, "workers": 4}
SCHEDULERS = [
    FIFO(max_resource=4),
    SuccessiveHalving(max_resource=9),
    Hyperband(max_resource=9),
    ASHA(max_resource=9, reduction_factor=3),
    ASHA(max_resource=9, reduction_factor=3, variant="stopping"),
    MedianStopping(max_resource=9),
    PBT(max_resource=8, interval=2),
    PBT(max_resource=8, interval=2, synchronous=True),
]


def driven(study, store=None, *, metric=None, **settings):
    opened = open_study(study, store or Store(new_url()))
    stream.drive(opened, simulated(metric, **settings) if metric else simulated(**settings))
    return opened


class InterruptedAt(SimulatedExecutor):
    """A cluster at whose n-th wait somebody presses Ctrl-C."""

    wait_count = 5

    def wait(self, timeout):
        self.wait_count -= 1
        if self.wait_count < 0:
            raise KeyboardInterrupt
        return super().wait(timeout)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: scheduler.type)
def test_what_is_stored_is_what_happened(scheduler):
    opened = driven(make_study(scheduler, trials=20), **FLAKY)
    assert opened.history.state == "finished"
    stored = open_study(opened.study, opened.store)
    assert stored.history.facts == opened.history.facts
    assert stored.history.trials == opened.history.trials
    assert stored.history.spent == opened.history.spent


def test_a_study_that_has_finished_is_left_alone():
    opened = driven(make_study(trials=3))
    known = journal_bytes(opened.store)
    stream.drive(open_study(opened.study, opened.store), simulated())
    assert journal_bytes(opened.store) == known


def test_what_was_launched_is_submitted_after_it_is_committed():
    class Checking(SimulatedExecutor):
        def submit(self, segment):
            stored = open_study(study, store)
            assert segment.key in [s.key for s in stored.history.open_segments()]
            super().submit(segment)

    study, store = make_study(Hyperband(max_resource=9), trials=9), Store(new_url())
    stream.drive(open_study(study, store), simulated(kind=Checking))


def test_the_observer_sees_every_fact_once():
    seen = []
    opened = open_study(make_study(Hyperband(max_resource=9)), Store(new_url()))
    stream.drive(opened, simulated(), observe=lambda history, facts: seen.extend(facts))
    assert seen == opened.history.facts


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "scheduler",
    [SuccessiveHalving(max_resource=9), Hyperband(max_resource=9), FIFO(max_resource=3)],
    ids=lambda scheduler: scheduler.type,
)
def test_a_crash_at_any_call_of_the_storage_loses_nothing(scheduler, after, monkeypatch):
    monkeypatch.setattr(journal_module, "SNAPSHOT_EVERY", 5)
    study = make_study(scheduler, trials=9)
    expected = driven(study, workers=4)
    for n in itertools.count():
        store = Store(new_url())
        try:
            driven(study, crashes(store.url, n, after), workers=4)
        except PowerCut:
            driven(study, store, workers=4)
        else:
            break
        history = open_study(study, store).history
        assert history.state == "finished"
        assert [trial.params for trial in history.trials] == [
            trial.params for trial in expected.history.trials
        ]
        assert [trial.state for trial in history.trials] == [
            trial.state for trial in expected.history.trials
        ]
        # No level was reported twice, and none is missing.
        assert [[r.resource for r in trial.reports] for trial in history.trials] == [
            [r.resource for r in trial.reports] for trial in expected.history.trials
        ]
    assert n > 5


def test_a_new_driver_fences_the_old_one():
    study, store = make_study(Hyperband(max_resource=9), trials=9), Store(new_url())

    class Overtaken(SimulatedExecutor):
        waits = 0

        def wait(self, timeout):
            self.waits += 1
            if self.waits == 3:
                stream.drive(open_study(study, store), simulated())
            return super().wait(timeout)

    with pytest.raises(StudyConflictError, match="taken the study over"):
        stream.drive(open_study(study, store), simulated(kind=Overtaken))
    found = open_study(study, store).history
    assert found.state == "finished"
    assert [fact.epoch for fact in found.facts if isinstance(fact, Opened)] == [1, 2]


def test_an_interrupted_study_goes_on_without_trying_failed_trials_again():
    study, store = make_study(FIFO(max_resource=9), trials=4), Store(new_url())
    first = []

    def curve(config, resource):
        first.append(config)
        return NAN if config == first[0] else 1.0

    executor = simulated(curve, kind=InterruptedAt, workers=1)
    executor.wait_count = 12
    with pytest.raises(KeyboardInterrupt):
        stream.drive(open_study(study, store), executor)
    halted = open_study(study, store)
    assert halted.history.halted == "interrupted"
    assert halted.history.counts[TrialState.FAILED] == 1
    stream.drive(halted, simulated())
    assert Opened(2) in halted.history.facts
    assert halted.history.state == "finished"
    assert halted.history.counts[TrialState.FAILED] == 1


def test_a_study_that_its_failures_halted_tries_them_again():
    study = make_study(FIFO(max_resource=2), trials=6, budget=Budget(max_failures=1))
    opened = driven(study, failure_rate=1.0, workers=1)
    assert opened.history.state == "halted"
    assert len(opened.history.trials) == 2
    stream.drive(opened, simulated())
    assert Opened(2, retry_failed=True) in opened.history.facts
    assert opened.history.counts[TrialState.COMPLETED] == 6


def test_segments_that_were_running_are_submitted_again():
    study, store = make_study(FIFO(max_resource=9), trials=4), Store(new_url())
    with pytest.raises(KeyboardInterrupt):
        stream.drive(open_study(study, store), simulated(kind=InterruptedAt))
    resumed = open_study(study, store)
    assert len(resumed.history.running) == 4
    launched = sum(isinstance(fact, Launched) for fact in resumed.history.facts)
    stream.drive(resumed, simulated())
    assert sum(isinstance(f, Launched) for f in resumed.history.facts) == launched == 4
    reported = [
        (f.trial, f.report.resource) for f in resumed.history.facts if isinstance(f, Reported)
    ]
    assert sorted(reported) == [(trial, level) for trial in range(4) for level in range(1, 10)]


def test_a_trial_that_was_told_to_stop_is_told_again_by_the_next_driver():
    study = make_study(MedianStopping(max_resource=50), trials=5, budget=Budget(target=-1))
    store = Store(new_url())

    def curve(config, resource):
        return -2.0 if resource == 3 else 1.0

    executor = simulated(curve, kind=InterruptedAt, workers=2)
    executor.wait_count = 3
    with pytest.raises(KeyboardInterrupt):
        stream.drive(open_study(study, store), executor)
    resumed = open_study(study, store)
    assert resumed.history.state == "finishing"
    stream.drive(resumed, simulated(curve))
    assert resumed.history.state == "finished"
    # They were stopped at level 3, began anew, and ended at their first report.
    assert {trial.resource for trial in resumed.history.trials} == {3}


def test_losing_a_worker_is_settled_in_the_store():
    class LosesFirst(SimulatedExecutor):
        def __post_init__(self):
            self.preemption_rate = 1e9
            super().__post_init__()

        def wait(self, timeout):
            messages = super().wait(timeout)
            self.preemption_rate = 0
            return messages

    opened = open_study(make_study(FIFO(max_resource=2), trials=1), Store(new_url()))
    stream.drive(opened, simulated(kind=LosesFirst))
    statuses = [fact.status for fact in opened.history.facts if isinstance(fact, Closed)]
    assert statuses == ["lost", "paused"]
    zombie = Outcome(0, 0, "completed")
    assert write_outcome(opened.store, zombie).status == "lost"


@pytest.mark.parametrize("wall_clock", [2.5, 10.0004, 1e-9, 0.1 + 0.2])
def test_the_wall_clock_ends_a_study_at_the_next_report(wall_clock):
    study = make_study(FIFO(max_resource=1000), budget=Budget(wall_clock=wall_clock))
    opened = driven(study, workers=2)
    history = opened.history
    assert history.state == "finished"
    assert history.elapsed >= wall_clock
    assert [type(f) for f in history.facts if isinstance(f, Stopped)] == [Stopped] * 2
    assert open_study(study, opened.store).history.facts == history.facts


@pytest.mark.parametrize("trial_time", [5, 6.0004])
def test_the_time_of_all_trials_together_is_limited(trial_time):
    study = make_study(FIFO(max_resource=1000), budget=Budget(trial_time=trial_time))
    history = driven(study, workers=2).history
    assert history.finished == f"the trial time of {trial_time:g} s is used up"
    assert trial_time <= history.trial_time <= trial_time + 2
    assert history.elapsed == pytest.approx(history.trial_time / 2, abs=0.01)
    assert history.spent <= trial_time + 2


def test_the_time_of_trials_goes_on_where_the_last_driver_left_it():
    study = make_study(FIFO(max_resource=10), budget=Budget(trial_time=20), trials=5)
    store = Store(new_url())
    executor = simulated(kind=InterruptedAt, workers=1)
    executor.wait_count = 15
    with pytest.raises(KeyboardInterrupt):
        stream.drive(open_study(study, store), executor)
    opened = open_study(study, store)
    assert opened.history.trial_time == 15
    stream.drive(opened, simulated(workers=1))
    assert opened.history.finished == "the trial time of 20 s is used up"


def test_time_goes_on_where_the_last_driver_left_it():
    study = make_study(FIFO(max_resource=10), budget=Budget(wall_clock=20), trials=5)
    store = Store(new_url())
    executor = simulated(kind=InterruptedAt, workers=1)
    executor.wait_count = 15
    with pytest.raises(KeyboardInterrupt):
        stream.drive(open_study(study, store), executor)
    opened = open_study(study, store)
    assert opened.history.elapsed == 15
    stream.drive(opened, simulated(workers=1))
    assert opened.history.finished == "the wall-clock budget of 20 s is used up"
    # Trial 1 was at level 5 and began anew; when the time was over it ended at its next report.
    assert opened.history.trials[1].resource == 6


def test_waiting_leaves_no_trace():
    class Quiet(SimulatedExecutor):
        quiet = True

        def wait(self, timeout):
            self.quiet = not self.quiet
            return super().wait(0.0 if self.quiet else timeout)

    study = make_study(FIFO(max_resource=3), trials=2, budget=Budget(wall_clock=100))
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, simulated(kind=Quiet))
    stored = open_study(study, opened.store).history.facts
    assert stored == opened.history.facts
    assert [fact.seconds for fact in stored if isinstance(fact, Elapsed)] == [0, 1, 2, 3]


def test_a_signal_ends_the_wait_and_not_a_commit():
    interrupts = Interrupts()
    opened = open_study(make_study(FIFO(max_resource=3), trials=2), Store(new_url()))
    interrupts._count = 1
    with pytest.raises(KeyboardInterrupt):
        stream.drive(opened, simulated(), interrupts=interrupts)
    assert open_study(opened.study, opened.store).history.facts[-1] == Halted("interrupted")


def test_messages_may_come_late_twice_or_not_at_all():
    class Lossy(SimulatedExecutor):
        def wait(self, timeout):
            messages = super().wait(timeout)
            kept = [m for m in messages if not isinstance(m, Progress) or m.trial % 2]
            return [*kept, *kept]

    study = make_study(Hyperband(max_resource=9))
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, simulated(kind=Lossy))
    assert opened.history.spent == 69
    assert isinstance(opened.history.facts[-1], Finished)
