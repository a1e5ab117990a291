"""The study: from a worker's messages to facts, and from facts to decisions."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, SPACE, Machine, make_report, make_study
from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Exhausted, Finished, Launched
from tuneflow.recording import record_outcome, record_report
from tuneflow.schedulers import ASHA, FIFO, PBT, Hyperband
from tuneflow.searchers.grid import Grid
from tuneflow.searchers.random import Random
from tuneflow.space import Int, Space
from tuneflow.study import decide
from tuneflow.trial import Failure, Outcome, TrialState


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": "best"}, "mode"),
        ({"metric": ""}, "metric"),
        ({"trials": 0}, "trials"),
        ({"trials": True}, "trials"),
        ({"round_size": 0}, "round_size"),
        ({"round_size": "some"}, "round_size"),
        ({"max_concurrent": 1.5}, "max_concurrent"),
        ({"trials": None}, "trials"),
        ({"trials": None, "budget": Budget(wall_clock=9), "round_size": "all"}, "trials"),
    ],
)
def test_a_study_that_cannot_work_is_refused_by_name(changes, field):
    with pytest.raises(SpecError) as caught:
        make_study(**{"trials": 5, **changes})
    assert caught.value.field == field


def test_the_end_may_come_from_trials_searcher_scheduler_or_budget():
    space = Space({"n": Int(1, 4)})
    assert make_study(trials=7).trial_limit == 7
    assert make_study(scheduler=Hyperband(max_resource=9)).trial_limit == 17
    assert make_study(searcher=Grid(), space=space).trial_limit is None
    assert make_study(budget=Budget(wall_clock=60)).trial_limit is None


def test_a_searcher_that_has_no_more_ends_the_study():
    machine = Machine(FIFO(max_resource=1), searcher=Grid(), space=Space({"n": Int(1, 4)}))
    history = machine.run(lambda trial, level: trial)
    assert [trial.params["n"] for trial in history.trials] == [1, 2, 3, 4]
    assert history.finished == "the searcher has no more configurations"


def test_decisions_fill_the_slots_and_no_more():
    machine = Machine(slots=3, trials=5)
    assert machine.launched() == [(0, 1), (1, 1), (2, 1)]
    assert machine.decide() == []
    machine.pause(1, 0)
    assert machine.launched() == [(3, 1)]


def test_max_concurrent_holds_below_the_slots():
    machine = Machine(slots=30, trials=9, max_concurrent=2)
    assert len(machine.launched()) == 2


@pytest.mark.parametrize(("round_size", "launched"), [("all", 9), (4, 4)])
def test_a_round_may_be_larger_than_what_runs_at_once(round_size, launched):
    machine = Machine(slots=math.inf, trials=9, max_concurrent=2, round_size=round_size)
    assert len(machine.launched()) == launched


def test_the_end_is_said_once():
    machine = Machine(trials=1, slots=1)
    machine.decide()
    machine.pause(0, 1)
    reason = "all 1 trials are done"
    assert machine.decide() == [Exhausted(reason), Finished(reason)]
    assert machine.decide() == []


def test_the_same_seed_decides_the_same_and_another_does_not():
    runs = [Machine(Hyperband(max_resource=9), seed=seed) for seed in (1, 1, 2)]
    first, second, other = (run.run(lambda trial, level: trial % 3).facts for run in runs)
    assert first == second
    assert first != other


def test_given_points_come_first():
    machine = Machine(trials=3, searcher=Random(points_to_evaluate=({"x": 0.25}, {})))
    machine.decide()
    assert machine.history.trials[0].params == {"x": 0.25}
    assert all(SPACE.contains(trial.params) for trial in machine.history.trials)


# What workers say.


def test_a_level_counts_once():
    machine = Machine(FIFO(max_resource=9), trials=1)
    machine.decide()
    for level, value in ((1, 5), (2, 4), (2, 0), (1, 0), (3, 3)):
        machine.report(0, level, value)
    assert [(r.resource, r.metrics["loss"]) for r in machine.history.trials[0].reports] == [
        (1, 5),
        (2, 4),
        (3, 3),
    ]


def test_an_outcome_brings_the_reports_that_were_lost_on_the_way():
    machine = Machine(FIFO(max_resource=3), trials=1)
    machine.decide()
    machine.report(0, 2, 2)
    reports = tuple(make_report(0, level, level) for level in (1, 2, 3))
    record_outcome(machine.study, machine.history, Outcome(0, 0, "paused", reports))
    assert machine.levels() == [[2, 3]]
    assert machine.history.trials[0].state is TrialState.COMPLETED


def test_whatever_comes_after_the_outcome_is_ignored():
    machine = Machine(FIFO(max_resource=3), trials=1)
    machine.decide()
    machine.pause(0, 1)
    known = len(machine.history.facts)
    record_report(machine.history, 0, 0, make_report(0, 9, 9))
    record_outcome(machine.study, machine.history, Outcome(0, 0, "failed"))
    record_outcome(machine.study, machine.history, Outcome(7, 0, "failed"))
    assert len(machine.history.facts) == known


def test_a_zombie_of_an_older_segment_is_ignored():
    machine = Machine(FIFO(max_resource=3), trials=1)
    machine.decide()
    machine.close(0, "lost")
    machine.decide()
    known = len(machine.history.facts)
    record_report(machine.history, 0, 0, make_report(0, 1, 1))
    record_outcome(machine.study, machine.history, Outcome(0, 0, "completed"))
    assert len(machine.history.facts) == known
    record_report(machine.history, 0, 1, make_report(0, 1, 1))
    assert machine.levels() == [[1]]


@pytest.mark.parametrize("status", ["completed", "paused"])
@pytest.mark.parametrize(
    ("value", "problem"), [(NAN, "is nan"), (math.inf, "is inf"), ({}, "no report has 'loss'")]
)
def test_a_trial_that_ends_without_a_usable_value_has_failed(status, value, problem):
    machine = Machine(FIFO(max_resource=1), trials=1, budget=Budget(max_failures_per_trial=3))
    machine.decide()
    machine.report(0, 1, value)
    machine.close(0, status)
    trial = machine.history.trials[0]
    assert trial.state is TrialState.FAILED
    assert trial.failure.kind == "metric"
    assert problem in trial.failure.message


def test_a_useless_value_on_the_way_is_no_failure():
    machine = Machine(FIFO(max_resource=2), trials=1)
    machine.decide()
    machine.report(0, 1, 5)
    machine.report(0, 2, NAN)
    machine.close(0)
    assert machine.history.trials[0].state is TrialState.COMPLETED
    assert machine.history.best_loss == 5


@pytest.mark.parametrize(
    ("status", "budget", "tries"),
    [
        ("failed", Budget(), 1),
        ("failed", Budget(max_failures_per_trial=2), 3),
        ("lost", Budget(), 4),
        ("lost", Budget(max_losses_per_trial=0, max_failures_per_trial=9), 1),
    ],
)
def test_failures_and_losses_have_bounds_of_their_own(status, budget, tries):
    machine = Machine(FIFO(max_resource=3), trials=1, budget=budget)
    attempts = []
    while machine.decide() and machine.history.running:
        attempts.append(machine.history.trials[0].attempt)
        machine.close(0, status)
    assert attempts == list(range(tries))
    assert machine.history.trials[0].state is TrialState.FAILED


def test_a_retry_goes_on_from_the_newest_checkpoint_to_the_same_level():
    machine = Machine(FIFO(max_resource=9), trials=1, budget=Budget(max_failures_per_trial=1))
    machine.decide()
    machine.report(0, 4, 1, saved=True)
    machine.report(0, 5, 1, saved=False)
    machine.close(0, "failed")
    assert machine.decide() == [Launched(0, 1, 9, start=4, checkpoint="ckpt/0-4", attempt=1)]


def test_a_retried_clone_keeps_its_parameters_and_its_donors_checkpoint():
    budget = Budget(max_failures_per_trial=1)
    rule = PBT(max_resource=6, interval=2, synchronous=True)
    machine = Machine(rule, trials=4, budget=budget)
    machine.decide()
    for trial in range(4):
        machine.pause(trial, trial)
    machine.decide()
    explored = machine.history.trials[3].params
    machine.close(3, "failed")
    retry = machine.decide()[0]
    assert (retry.trial, retry.start, retry.checkpoint, retry.until) == (3, 2, "ckpt/0-2", 4)
    assert machine.history.trials[3].params == explored


def test_a_trial_that_was_told_to_stop_is_not_tried_again():
    machine = Machine(ASHA(max_resource=9, reduction_factor=3, variant="stopping"), trials=3)
    machine.decide()
    for trial in range(3):
        machine.report(trial, 1, trial)
    machine.decide()
    machine.close(2, "lost")
    assert machine.history.trials[2].state is TrialState.STOPPED
    assert machine.launched() == []


def test_a_traceback_stays_out_of_the_journal():
    machine = Machine(trials=1)
    machine.decide()
    failure = Failure("ValueError", "no", "Traceback: /home/me/train.py")
    record_outcome(machine.study, machine.history, Outcome(0, 0, "failed", failure=failure))
    assert machine.history.facts[-1] == Closed(0, "failed", Failure("ValueError", "no"))


def test_a_study_is_decided_by_its_arguments_alone():
    machine = Machine(Hyperband(max_resource=9), slots=3)
    machine.decide()
    machine.pause(0, 1)
    rebuilt = machine.rebuilt()
    assert machine.decide() == decide(machine.study, rebuilt, machine.slots)
