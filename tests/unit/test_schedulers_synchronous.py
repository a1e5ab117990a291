"""Successive halving and Hyperband: rungs, brackets, and what failures do to them."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, Machine
from tuneflow.budget import Budget
from tuneflow.events import Launched, Opened
from tuneflow.schedulers import Hyperband, SuccessiveHalving
from tuneflow.trial import TrialState


def reached(machine: Machine) -> list[int]:
    """Return how many trials reported at each level, lowest first."""
    levels = [level for trial in machine.levels() for level in trial]
    return [levels.count(level) for level in sorted(set(levels))]


@pytest.mark.parametrize(("most", "trials", "cost"), [(9, 17, 69), (27, 49, 357), (81, 143, 1581)])
def test_hyperband_costs_what_the_table_says_when_it_resumes(most, trials, cost):
    machine = Machine(Hyperband(max_resource=most))
    history = machine.run(lambda trial, level: trial * 7919 % 1009)
    assert len(history.trials) == trials
    assert history.spent == cost
    assert history.state == "finished"


@pytest.mark.parametrize("slots", [1, 3, 1000])
def test_every_bracket_gets_its_trials_with_any_number_of_slots(slots):
    machine = Machine(Hyperband(max_resource=9), slots=slots)
    history = machine.run(lambda trial, level: trial % 5)
    assert [trial.bracket for trial in history.trials] == [0] * 9 + [1] * 5 + [2] * 3
    assert reached(machine) == [9, 8, 5]


def test_the_best_of_a_rung_go_on_and_the_earlier_report_wins_a_tie():
    machine = Machine(SuccessiveHalving(max_resource=9), trials=9)
    machine.decide()
    for trial, value in enumerate([5, 1, 1, 1, 5, 0, 5, 5, 5]):
        machine.report(8 - trial, 1, value)
    for trial in range(9):
        machine.close(trial)
    # Trials 7, 6 and 5 reported 1 in this order, trial 3 reported 0.
    assert machine.launched() == [(3, 3), (7, 3), (6, 3)]


def test_a_larger_metric_is_better_in_mode_max():
    machine = Machine(SuccessiveHalving(max_resource=3), mode="max")
    history = machine.run(lambda trial, level: [1, 7, 3][trial])
    assert machine.levels() == [[1], [1, 3], [1]]
    assert history.best().number == 1


def test_a_free_slot_begins_the_next_bracket_while_a_rung_waits():
    machine = Machine(SuccessiveHalving(max_resource=3), slots=3, trials=9)
    assert machine.launched() == [(0, 1), (1, 1), (2, 1)]
    machine.pause(0, 1)
    machine.pause(1, 2)
    # Trial 2 lags behind; the rung waits for it, the slots do not.
    assert machine.launched() == [(3, 1), (4, 1)]
    machine.pause(2, 3)
    assert machine.launched() == [(0, 3)]
    assert [trial.bracket for trial in machine.history.trials] == [0, 0, 0, 1, 1]


def test_older_brackets_go_first():
    machine = Machine(SuccessiveHalving(max_resource=3), slots=6, trials=9)
    machine.decide()
    for trial in (3, 4, 5, 0, 1, 2):
        machine.pause(trial, trial)
    machine.slots = 2
    assert machine.launched() == [(0, 3), (3, 3)]


@pytest.mark.parametrize("useless", [None, NAN, math.inf, -math.inf, {}])
def test_a_useless_result_is_never_promoted(useless):
    machine = Machine(SuccessiveHalving(max_resource=9), trials=9)
    machine.decide()
    for trial in range(9):
        if trial < 7 and useless is None:
            machine.close(trial, "failed")
        else:
            machine.report(trial, 1, useless if trial < 7 else trial)
            machine.close(trial)
    # Three places, and two who can take them.
    assert machine.launched() == [(7, 3), (8, 3)]


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_a_bracket_in_which_all_fail_ends_and_the_next_one_runs(status):
    budget = Budget(max_losses_per_trial=0)
    machine = Machine(SuccessiveHalving(max_resource=3), trials=6, slots=3, budget=budget)
    machine.decide()
    for trial in range(3):
        machine.close(trial, status)
    assert machine.launched() == [(3, 1), (4, 1), (5, 1)]
    history = machine.run(lambda trial, level: trial)
    assert [trial.state for trial in history.trials[:3]] == [TrialState.FAILED] * 3
    assert history.trials[3].state is TrialState.COMPLETED
    assert history.finished == "all 6 trials are done"


def test_a_trial_that_ends_by_itself_takes_no_place_in_the_next_rung():
    machine = Machine(SuccessiveHalving(max_resource=3))
    machine.decide()
    machine.report(0, 1, 0)
    machine.close(0, "completed")
    machine.pause(1, 1)
    machine.pause(2, 2)
    assert machine.launched() == [(1, 3)]


def test_a_trial_that_waits_for_a_retry_holds_its_rung():
    machine = Machine(SuccessiveHalving(max_resource=3), budget=Budget(max_failures_per_trial=1))
    machine.decide()
    machine.close(0, "failed")
    machine.pause(1, 1)
    machine.pause(2, 2)
    assert machine.launched() == [(0, 1)]
    machine.pause(0, 0)
    assert machine.launched() == [(0, 3)]


@pytest.mark.parametrize(
    ("trials", "rungs"), [(1, [1, 1, 1]), (2, [2, 1, 1]), (4, [4, 1, 1]), (10, [10, 4, 2])]
)
def test_a_bracket_that_is_not_filled_is_cut_to_the_size_it_has(trials, rungs):
    machine = Machine(SuccessiveHalving(max_resource=9), trials=trials)
    machine.run(lambda trial, level: trial)
    assert reached(machine) == rungs


def test_more_trials_than_a_cycle_go_round_again():
    machine = Machine(Hyperband(max_resource=3), trials=11)
    machine.run(lambda trial, level: trial)
    # 3 and 2 trials in the brackets of a cycle.
    assert [trial.bracket for trial in machine.history.trials] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4]


def test_when_all_failed_a_retry_fills_the_rungs_again():
    machine = Machine(SuccessiveHalving(max_resource=9), slots=2)
    machine.run(lambda trial, level: None)
    machine.history.append(Opened(1, retry_failed=True))
    machine.run(lambda trial, level: trial)
    assert reached(machine) == [9, 3, 1]


def test_a_retry_whose_rung_was_decided_goes_to_its_level_and_no_further():
    machine = Machine(SuccessiveHalving(max_resource=3))
    machine.run(lambda trial, level: None if trial == 0 else trial)
    machine.history.append(Opened(1, retry_failed=True))
    first = len(machine.history.facts)
    history = machine.run(lambda trial, level: -1)
    assert [f.trial for f in history.facts[first:] if isinstance(f, Launched)] == [0]
    assert history.trials[0].state is TrialState.STOPPED


def test_whoever_waited_for_a_promotion_when_the_study_finished_is_given_up():
    # 2 are spent, and a promotion would cost 2 more.
    machine = Machine(SuccessiveHalving(max_resource=3), budget=Budget(total_resource=3))
    machine.run(lambda trial, level: None if trial == 0 else trial)
    assert machine.history.state == "finished"
    machine.history.append(Opened(1, retry_failed=True))
    first = len(machine.history.facts)
    history = machine.run(lambda trial, level: -1)
    assert [f.trial for f in history.facts[first:] if isinstance(f, Launched)] == [0]
    assert history.spent == 3
