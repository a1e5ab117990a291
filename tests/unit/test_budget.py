"""When a study ends before its trials do."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, Machine
from tuneflow.budget import Budget, Plateau
from tuneflow.errors import SpecError
from tuneflow.events import Elapsed, Finished, Opened, Stopped
from tuneflow.schedulers import ASHA, FIFO, Hyperband, SuccessiveHalving
from tuneflow.trial import TrialState


@pytest.mark.parametrize(
    "scheduler", [ASHA(max_resource=9), Hyperband(max_resource=9), FIFO(max_resource=9)]
)
@pytest.mark.parametrize("total", [1, 8.5, 9, 40, 1000])
@pytest.mark.parametrize("slots", [1, 5])
def test_the_total_resource_is_never_exceeded(scheduler, total, slots):
    budget = Budget(total_resource=total)
    machine = Machine(scheduler, slots=slots, trials=50, budget=budget)
    history = machine.run(lambda trial, level: trial % 7)
    assert history.spent <= total
    assert history.state == "finished"
    # Nothing that was affordable was left undone.
    assert history.spent > total - 9 or len(history.trials) == 50


def test_what_running_trials_may_spend_is_set_aside():
    machine = Machine(FIFO(max_resource=9), slots=5, trials=5, budget=Budget(total_resource=20))
    assert machine.launched() == [(0, 9), (1, 9)]
    machine.report(0, 4, 1)
    machine.close(0, "failed")
    # 4 are spent and 9 promised: too little for another 9, until trial 1 fails as well.
    assert machine.launched() == []
    machine.close(1, "failed")
    assert machine.launched() == [(2, 9)]


def test_a_study_that_cannot_afford_more_says_so():
    machine = Machine(FIFO(max_resource=9), trials=5, budget=Budget(total_resource=20))
    history = machine.run(lambda trial, level: 1)
    assert history.finished == "the total resource has too little left: 18 units are spent"


def test_segments_without_an_end_are_stopped_when_the_sum_is_reached():
    machine = Machine(FIFO(), slots=2, budget=Budget(total_resource=10))
    assert machine.launched() == [(0, None), (1, None)]
    machine.report(0, 6, 1)
    assert machine.decide() == []
    machine.report(1, 4, 1)
    reason = "the total resource of 10 is used up"
    assert machine.decide() == [Stopped(0, reason), Stopped(1, reason), Finished(reason)]
    assert machine.history.state == "finishing"
    machine.close(0, "stopped")
    machine.close(1, "completed")
    assert machine.history.state == "finished"
    assert machine.history.counts == {
        TrialState.STOPPED: 1,
        TrialState.COMPLETED: 1,
        TrialState.RUNNING: 0,
    }


def test_the_wall_clock_stops_what_runs():
    machine = Machine(FIFO(), slots=1, budget=Budget(wall_clock=60))
    machine.decide()
    machine.history.append(Elapsed(59.999))
    assert machine.decide() == []
    machine.history.append(Elapsed(60))
    assert [type(fact) for fact in machine.decide()] == [Stopped, Finished]


def test_the_trial_time_stops_what_runs():
    machine = Machine(FIFO(), slots=1, budget=Budget(trial_time=60))
    machine.decide()
    machine.history.append(Elapsed(1000, 59.999))
    assert machine.decide() == []
    machine.history.append(Elapsed(1000, 60))
    assert [type(fact) for fact in machine.decide()] == [Stopped, Finished]


@pytest.mark.parametrize(
    ("mode", "value", "is_over"),
    [
        ("min", 0.5, True),
        ("min", 0.51, False),
        ("max", 0.5, True),
        ("max", 0.49, False),
        ("max", math.inf, False),
        ("min", NAN, False),
    ],
)
def test_the_target_ends_a_study_when_it_is_reached(mode, value, is_over):
    machine = Machine(FIFO(), trials=2, mode=mode, budget=Budget(target=0.5))
    machine.decide()
    machine.report(0, 1, value)
    machine.decide()
    assert (machine.history.finished == "loss has reached the target 0.5") == is_over


def test_a_plateau_ends_a_study_that_no_longer_improves():
    budget = Budget(plateau=Plateau(segments=3, min_trials=4))
    machine = Machine(FIFO(max_resource=1), slots=1, trials=20, budget=budget)
    history = machine.run(lambda trial, level: [5, 5, 4, 4, 4, 4, 3][trial])
    assert len(history.trials) == 6
    assert history.finished == "loss has not improved in 3 segments"


def test_a_retry_must_be_affordable_too():
    budget = Budget(total_resource=10, max_failures_per_trial=5)
    machine = Machine(FIFO(max_resource=9), slots=1, trials=2, budget=budget)
    machine.decide()
    machine.report(0, 5, 1, saved=False)
    machine.close(0, "failed")
    # It has reached 5 before, so 4 more are spent at most.
    assert machine.launched() == [(0, 9)]


@pytest.mark.parametrize(
    ("budget", "failures"), [(Budget(fail_fast=True), 1), (Budget(max_failures=2), 3)]
)
def test_too_many_failures_halt_a_study_until_it_is_opened_again(budget, failures):
    machine = Machine(FIFO(max_resource=1), slots=1, trials=10, budget=budget)
    history = machine.run(lambda trial, level: None)
    assert history.state == "halted"
    assert len(history.trials) == failures
    assert machine.decide() == []
    history.append(Opened(1, retry_failed=True))
    history = machine.run(lambda trial, level: 1)
    assert history.state == "finished"
    assert history.counts[TrialState.COMPLETED] == 10


def test_a_study_whose_trials_all_fail_is_halted_before_it_spends_the_rest():
    machine = Machine(FIFO(max_resource=1), slots=3, budget=Budget(total_resource=10))
    history = machine.run(lambda trial, level: None)
    assert history.halted == "20 trials failed, and none has a usable value"
    bounded = Machine(FIFO(max_resource=1), trials=50)
    assert bounded.run(lambda trial, level: None).state == "halted"


def test_one_usable_value_shows_that_failures_are_the_trials_own():
    machine = Machine(FIFO(max_resource=1), trials=50)
    history = machine.run(lambda trial, level: 1.0 if trial == 0 else None)
    assert history.state == "finished"
    assert history.counts[TrialState.FAILED] == 49


def test_who_says_how_many_failures_are_borne_gets_them():
    machine = Machine(FIFO(max_resource=1), trials=50, budget=Budget(max_failures=50))
    history = machine.run(lambda trial, level: None)
    assert history.finished == "all 50 trials are done"


def test_only_what_differs_is_stored():
    assert Budget().to_json() == {}
    plateau = Plateau(segments=5)
    assert Budget(target=1.5, plateau=plateau, max_failures=0).to_json() == {
        "target": 1.5,
        "plateau": {"segments": 5, "min_trials": 10},
        "max_failures": 0,
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"wall_clock": 0}, "wall_clock"),
        ({"wall_clock": "1h"}, "wall_clock"),
        ({"total_resource": math.inf}, "total_resource"),
        ({"total_resource": True}, "total_resource"),
        ({"target": NAN}, "target"),
        ({"max_failures": -1}, "max_failures"),
        ({"max_losses_per_trial": 1.5}, "max_losses_per_trial"),
    ],
)
def test_an_impossible_limit_is_refused_by_name(fields, field):
    with pytest.raises(SpecError) as caught:
        Budget(**fields)
    assert caught.value.field == f"budget.{field}"


def test_a_plateau_counts_in_whole_numbers():
    with pytest.raises(SpecError, match=r"budget\.plateau\.segments"):
        Plateau(segments=0)


def test_halving_ends_within_the_budget_with_a_best_trial():
    machine = Machine(SuccessiveHalving(max_resource=9), budget=Budget(total_resource=15))
    history = machine.run(lambda trial, level: trial)
    assert history.spent <= 15
    assert history.best().number == 0
