"""Rounds: the same journal everywhere, whatever dies on the way."""

from __future__ import annotations

import itertools

import pytest

from tests.machine import make_study
from tests.places import (
    PowerCut,
    crashes,
    journal_bytes,
    new_url,
    open_study,
    simulated,
)
from tuneflow import journal as journal_module
from tuneflow import rounds
from tuneflow.budget import Budget
from tuneflow.errors import StudyConflictError
from tuneflow.events import Closed, Elapsed, Launched, Opened
from tuneflow.executors.simulated import SimulatedExecutor
from tuneflow.outcomes import write_outcome
from tuneflow.schedulers import ASHA, FIFO, Hyperband
from tuneflow.store import Store
from tuneflow.trial import Failure, Outcome, Report, TrialState, outcome_path

FLAKY = {"failure_rate": 0.05, "preemption_rate": 200.0, "workers": 4}


def study_in_rounds(scheduler=None, **changes):
    return make_study(scheduler or Hyperband(max_resource=9), round_size="all", **changes)


def finish(opened, number, *, value=0.5, skip=()):
    """Leave outcomes for the segments of a round, as workers do."""
    for segment in rounds.open_round(opened, number).segments:
        if segment.trial not in skip:
            report = Report(segment.until, {"loss": value + segment.trial})
            outcome = Outcome(*segment.key, "paused", (report,), started=100, ended=160)
            write_outcome(opened.store, outcome)


def driven(study, store=None, **settings):
    opened = open_study(study, store or Store(new_url()))
    rounds.drive(opened, simulated(**settings))
    return opened


def test_a_study_runs_to_its_end_in_rounds():
    opened = driven(study_in_rounds())
    assert opened.history.state == "finished"
    assert len(opened.history.trials) == 17
    assert opened.history.spent == 69
    # Three rungs at most, and the entry that ends the study.
    assert opened.rounds == 4


@pytest.mark.parametrize("workers", [1, 3, 64])
def test_the_journal_is_the_same_with_any_number_of_workers(workers):
    study = study_in_rounds(Hyperband(max_resource=9), budget=Budget(max_failures_per_trial=1))
    expected = driven(study, failure_rate=0.1, straggler_spread=1.0)
    found = driven(study, failure_rate=0.1, straggler_spread=0.5, workers=workers)
    assert journal_bytes(found.store) == journal_bytes(expected.store)
    assert expected.history.counts[TrialState.FAILED]


def test_opening_a_round_again_changes_nothing():
    opened = open_study(study_in_rounds(), Store(new_url()))
    first = rounds.open_round(opened, 0)
    known = journal_bytes(opened.store)
    assert rounds.open_round(opened, 0) == first
    assert rounds.open_round(open_study(opened.study, opened.store), 0) == first
    assert journal_bytes(opened.store) == known
    assert [segment.key for segment in first.segments[:2]] == [(0, 0), (1, 0)]


def test_an_earlier_round_is_returned_as_it_was():
    opened = driven(study_in_rounds())
    sizes = [len(rounds.open_round(opened, number).segments) for number in range(opened.rounds)]
    assert sizes == [17, 4, 1, 0]
    assert rounds.open_round(opened, 0).state == "running"
    assert rounds.open_round(opened, opened.rounds).state == "finished"


def test_a_round_cannot_be_opened_before_the_one_before():
    opened = open_study(study_in_rounds(), Store(new_url()))
    with pytest.raises(ValueError, match="round 1 cannot be opened before round 0"):
        rounds.open_round(opened, 1)


def test_twins_write_the_same_bytes():
    study, store = study_in_rounds(), Store(new_url())
    first, second = open_study(study, store), open_study(study, store)
    assert rounds.open_round(first, 0) == rounds.open_round(second, 0)
    finish(first, 0, skip={3})
    assert rounds.open_round(first, 1) == rounds.open_round(second, 1)
    assert first.history.facts == second.history.facts


def test_a_round_is_taken_in_in_the_order_of_its_trials():
    opened = open_study(study_in_rounds(), Store(new_url()))
    for segment in reversed(rounds.open_round(opened, 0).segments):
        report = Report(segment.until, {"loss": 1.0})
        write_outcome(opened.store, Outcome(*segment.key, "paused", (report,)))
    rounds.open_round(opened, 1)
    closed = [fact.trial for fact in opened.history.facts if isinstance(fact, Closed)]
    assert closed == list(range(17))


def test_a_missing_outcome_counts_as_lost_from_then_on():
    opened = open_study(study_in_rounds(FIFO(max_resource=1), trials=2), Store(new_url()))
    finish(opened, 0, skip={1})
    again = rounds.open_round(opened, 1)
    assert [(segment.trial, segment.attempt) for segment in again.segments] == [(1, 1)]
    # A zombie comes back with a result, too late.
    late = Outcome(1, 0, "paused", (Report(1, {"loss": 0.0}),))
    assert write_outcome(opened.store, late).status == "lost"


def test_a_missing_outcome_takes_no_time():
    budget = Budget(wall_clock=1000)
    opened = open_study(
        study_in_rounds(FIFO(max_resource=1), trials=3, budget=budget), Store(new_url())
    )
    finish(opened, 0, skip={1})
    rounds.open_round(opened, 1)
    assert [f.seconds for f in opened.history.facts if isinstance(f, Elapsed)] == [60]
    assert opened.history.state == "running"


def test_hours_between_a_crash_in_a_round_and_going_on_take_no_time():
    study = study_in_rounds(FIFO(max_resource=1), trials=4, budget=Budget(wall_clock=1000))
    opened = open_study(study, Store(new_url()))
    times = [(100, 160), (90, 130), (40_000, 40_020), (40_010, 40_015)]
    segments = rounds.open_round(opened, 0).segments
    for segment, (started, ended) in zip(segments, times, strict=True):
        report = Report(segment.until, {"loss": 0.5})
        outcome = Outcome(*segment.key, "paused", (report,), started=started, ended=ended)
        write_outcome(opened.store, outcome)
    rounds.open_round(opened, 1)
    assert [f.seconds for f in opened.history.facts if isinstance(f, Elapsed)] == [70 + 20]


def test_the_time_of_the_trials_of_a_round_is_added_up():
    budget = Budget(trial_time=100)
    opened = open_study(
        study_in_rounds(FIFO(max_resource=1), trials=3, budget=budget), Store(new_url())
    )
    finish(opened, 0)
    rounds.open_round(opened, 1)
    assert [f for f in opened.history.facts if isinstance(f, Elapsed)] == [Elapsed(60, 180)]


def test_a_round_of_some_size_holds_no_more():
    study = make_study(FIFO(max_resource=1), trials=7, round_size=3)
    opened = driven(study)
    sizes = [len(rounds.open_round(opened, n).segments) for n in range(opened.rounds)]
    assert sizes == [3, 3, 1, 0]


def test_no_more_run_at_once_than_the_study_allows():
    class Counting(SimulatedExecutor):
        most = 0

        def submit(self, segment):
            super().submit(segment)
            self.most = max(self.most, len(self._runs))

    executor = simulated(kind=Counting)
    opened = open_study(study_in_rounds(max_concurrent=3), Store(new_url()))
    rounds.drive(opened, executor)
    assert executor.most == 3
    assert opened.rounds == 4


def test_a_segment_that_has_an_outcome_does_not_run_again():
    opened = open_study(study_in_rounds(FIFO(max_resource=1), trials=4), Store(new_url()))
    finish(opened, 0, skip={2})
    called = []

    def curve(config, resource):
        called.append(config)
        return 1.0

    resumed = open_study(opened.study, opened.store)
    rounds.drive(resumed, simulated(curve))
    assert called == [resumed.history.trials[2].params]


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_a_failure_can_be_forgotten_while_its_round_is_open(status):
    opened = open_study(study_in_rounds(FIFO(max_resource=1), trials=2), Store(new_url()))
    finish(opened, 0, skip={1})
    write_outcome(opened.store, Outcome(1, 0, status, failure=Failure("OSError", "no disk")))
    assert rounds.forget_failed(opened, (1, 0))
    finish(opened, 0)
    assert rounds.open_round(opened, 1).state == "finished"
    assert opened.history.counts[TrialState.COMPLETED] == 2


def test_a_failure_that_a_later_round_has_taken_in_stands():
    opened = open_study(study_in_rounds(FIFO(max_resource=1), trials=2), Store(new_url()))
    finish(opened, 0, skip={1})
    write_outcome(opened.store, Outcome(1, 0, "failed", failure=Failure("OSError", "no disk")))
    rounds.open_round(opened, 1)
    assert not rounds.forget_failed(opened, (1, 0))
    assert opened.store.exists(outcome_path(1, 0))


def test_nothing_else_is_forgotten():
    opened = open_study(study_in_rounds(FIFO(max_resource=1), trials=2), Store(new_url()))
    finish(opened, 0, skip={1})
    assert not rounds.forget_failed(opened, (0, 0))
    assert not rounds.forget_failed(opened, (1, 0))
    assert not rounds.forget_failed(opened, (0, 1))
    assert not rounds.forget_failed(opened, (7, 0))
    assert opened.store.exists(outcome_path(0, 0))


def test_a_halted_study_tries_its_failed_trials_when_it_is_driven_again():
    study = study_in_rounds(FIFO(max_resource=1), trials=3, budget=Budget(max_failures=1))
    opened = driven(study, failure_rate=1.0)
    assert opened.history.state == "halted"
    rounds.drive(open_study(study, opened.store), simulated())
    found = open_study(study, opened.store)
    assert found.history.state == "finished"
    assert found.history.counts[TrialState.COMPLETED] == 3


def test_a_finished_study_is_left_alone_unless_it_is_to_retry():
    study = study_in_rounds(FIFO(max_resource=1), trials=3)
    opened = driven(study, failure_rate=1.0)
    known = len(opened.history.facts)
    rounds.drive(opened, simulated())
    assert len(opened.history.facts) == known
    rounds.drive(opened, simulated(), retry_failed=True)
    assert opened.history.facts[known] == Opened(1, retry_failed=True)
    assert opened.history.counts[TrialState.COMPLETED] == 3


def test_a_driver_with_another_idea_of_a_round_is_refused():
    study, store = study_in_rounds(FIFO(max_resource=1), trials=3), Store(new_url())
    opened = driven(study, store, failure_rate=1.0)
    stale = open_study(study, store)
    rounds.drive(opened, simulated(), retry_failed=True)
    stale.history.append(Opened(1))
    with pytest.raises(StudyConflictError):
        stale.commit([stale.history.facts[-1]], round_number=stale.rounds)


def test_the_observer_sees_each_round():
    seen = []
    opened = open_study(study_in_rounds(), Store(new_url()))
    rounds.drive(opened, simulated(), observe=lambda history, facts: seen.append(list(facts)))
    assert list(itertools.chain(*seen)) == opened.history.facts
    assert [sum(isinstance(f, Launched) for f in facts) for facts in seen] == [17, 4, 1, 0]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "scheduler", [Hyperband(max_resource=9), ASHA(max_resource=9, reduction_factor=3)]
)
def test_a_crash_at_any_call_of_the_storage_leaves_the_same_journal(scheduler, after, monkeypatch):
    monkeypatch.setattr(journal_module, "SNAPSHOT_EVERY", 2)
    study = study_in_rounds(scheduler, trials=9, budget=Budget(max_failures_per_trial=1))
    expected = driven(study, **FLAKY)
    crashed = 0
    for n in itertools.count():
        url = new_url()
        try:
            driven(study, crashes(url, n, after), **FLAKY)
        except PowerCut:
            crashed += 1
            driven(study, Store(url), **FLAKY)
        else:
            break
        assert journal_bytes(Store(url)) == journal_bytes(expected.store)
    # Every outcome and every entry was a chance to crash at.
    segments = sum(isinstance(fact, Launched) for fact in expected.history.facts)
    assert crashed > segments + expected.rounds


def test_a_failure_keeps_its_traceback_in_the_outcome_only():
    opened = open_study(study_in_rounds(FIFO(max_resource=1), trials=1), Store(new_url()))
    rounds.open_round(opened, 0)
    failure = Failure("ValueError", "no", "Traceback, line 1")
    write_outcome(opened.store, Outcome(0, 0, "failed", failure=failure))
    rounds.open_round(opened, 1)
    assert b"Traceback" in opened.store.get(outcome_path(0, 0))
    assert not any(b"Traceback" in data for data in journal_bytes(opened.store))
