"""ASHA: who is promoted, and who is stopped."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from tests.machine import NAN, Machine
from tuneflow.budget import Budget
from tuneflow.events import Launched, Opened, Stopped
from tuneflow.schedulers import ASHA
from tuneflow.trial import TrialState


def asha(**changes) -> ASHA:
    return ASHA(**{"max_resource": 9, "reduction_factor": 3, **changes})


def stops(machine: Machine) -> list[int]:
    return [fact.trial for fact in machine.decide() if isinstance(fact, Stopped)]


def test_nobody_is_promoted_before_there_are_eta_results():
    machine = Machine(asha(), slots=1, trials=20)
    for trial in range(3):
        assert machine.launched() == [(trial, 1)]
        machine.pause(trial, 10 - trial)
    assert machine.launched() == [(2, 3)]


def test_the_top_rung_goes_first():
    machine = Machine(asha(), slots=9, trials=30)
    machine.decide()
    for trial in range(9):
        machine.pause(trial, trial)
    machine.slots = 3
    assert machine.launched() == [(0, 3), (1, 3), (2, 3)]
    for trial in range(3):
        machine.pause(trial, trial)
    machine.slots = 2
    assert machine.launched() == [(0, 9), (9, 1)]


def test_a_promoted_trial_keeps_its_place_in_the_rung_it_left():
    machine = Machine(asha(), slots=3, trials=30)
    machine.decide()
    for trial in range(3):
        machine.pause(trial, trial)
    assert machine.launched() == [(0, 3), (3, 1), (4, 1)]
    machine.pause(3, 9)
    machine.pause(4, 9)
    # Five results, so one place, and trial 0 has it.
    assert machine.launched() == [(5, 1), (6, 1)]
    machine.pause(5, 0.5)
    assert machine.launched() == [(5, 3)]


def test_of_equal_results_the_earliest_are_promoted():
    machine = Machine(asha(), slots=9, trials=9)
    machine.decide()
    for trial in reversed(range(9)):
        machine.report(trial, 1, 1.0)
    for trial in range(9):
        machine.close(trial)
    assert machine.launched() == [(8, 3), (7, 3), (6, 3)]


@pytest.mark.parametrize("useless", [NAN, math.inf, -math.inf, None])
def test_a_useless_result_counts_in_its_rung_and_is_never_promoted(useless):
    machine = Machine(asha(), slots=3, trials=3)
    machine.decide()
    machine.pause(0, useless)
    machine.pause(1, 5)
    machine.pause(2, useless)
    assert machine.launched() == [(1, 3)]


def test_a_failed_trial_counts_as_the_worst_of_its_rung():
    machine = Machine(asha(), slots=3, trials=3)
    machine.decide()
    machine.close(0, "failed")
    machine.close(1, "failed")
    machine.pause(2, 100)
    assert machine.launched() == [(2, 3)]


def test_a_failure_that_is_made_good_counts_once():
    machine = Machine(asha(), slots=2, trials=20)
    machine.decide()
    machine.close(0, "failed")
    machine.history.append(Opened(1, retry_failed=True))
    machine.decide()
    machine.pause(0, 1)
    machine.pause(1, 2)
    # Two results, not three: nobody goes on yet.
    assert machine.launched() == [(2, 1), (3, 1)]


def test_a_report_that_skips_a_rung_counts_at_the_highest_one_only():
    machine = Machine(asha(), slots=3, trials=20)
    machine.decide()
    machine.report(0, 4, 0)
    machine.close(0)
    machine.pause(1, 1)
    machine.pause(2, 2)
    # The lowest rung has two results, the middle one has one.
    assert [until for _, until in machine.launched()] == [1, 1, 1]
    machine.pause(3, 3)
    assert machine.launched() == [(1, 3)]


def test_reports_that_come_again_after_a_restart_count_once():
    budget = Budget(max_losses_per_trial=5)
    machine = Machine(asha(), slots=1, trials=20, budget=budget)
    for _ in range(4):
        machine.decide()
        machine.report(0, 1, 1, saved=False)
        machine.close(0, "lost")
    assert machine.launched() == [(0, 1)]
    machine.report(0, 1, 1)
    machine.close(0)
    assert machine.launched() == [(1, 1)]


def test_rungs_survive_a_restart():
    machine = Machine(asha(), slots=9, trials=9)
    machine.decide()
    for trial in range(9):
        machine.pause(trial, trial)
    expected = machine.study.scheduler.next(machine.history)
    assert machine.study.scheduler.next(machine.rebuilt()) == expected


def test_in_an_improving_stream_each_newcomer_is_promoted_at_once():
    machine = Machine(asha(), slots=1, trials=27)
    history = machine.run(lambda trial, level: -trial)
    goals = Counter(f.until for f in history.facts if isinstance(f, Launched))
    assert goals == {1: 27, 3: 25, 9: 23}


def test_in_a_worsening_stream_a_third_is_promoted():
    machine = Machine(asha(), slots=1, trials=27)
    history = machine.run(lambda trial, level: trial)
    goals = Counter(f.until for f in history.facts if isinstance(f, Launched))
    assert goals == {1: 27, 3: 9, 9: 3}


@pytest.mark.parametrize(
    ("values", "survivors"),
    [
        ([3, 2, 1, 0], [0, 1, 2, 3]),
        ([0, 0, 0, 0], [0, 1]),
        ([0, 1, 2, 3], [0, 1]),
        ([NAN, 1, NAN, 0], [0, 1, 3]),
    ],
)
def test_stopping_ends_whoever_is_not_among_the_best(values, survivors):
    machine = Machine(asha(variant="stopping"), trials=4)
    assert machine.launched() == [(trial, 9) for trial in range(4)]
    stopped = []
    for trial, value in enumerate(values):
        machine.report(trial, 1, value)
        stopped += stops(machine)
    assert [trial for trial in range(4) if trial not in stopped] == survivors


def test_a_trial_is_told_to_stop_once():
    machine = Machine(asha(variant="stopping"), trials=3)
    machine.decide()
    for trial in range(3):
        machine.report(trial, 1, trial)
    assert stops(machine) == [2]
    # It is slow to stop, and comes to the next rung, where it is the worst as well.
    for trial in range(3):
        machine.report(trial, 3, trial)
    assert stops(machine) == []
    machine.close(2, "stopped")
    assert machine.history.trials[2].state is TrialState.STOPPED


def test_a_stop_does_not_wait_for_a_slot_behind_a_retry():
    budget = Budget(max_losses_per_trial=1)
    machine = Machine(asha(variant="stopping"), trials=6, slots=4, budget=budget)
    machine.decide()
    for trial in range(3):
        machine.report(trial, 1, trial)
    machine.close(0, "lost")
    machine.slots = 3
    assert stops(machine) == [2]


def test_stopping_never_ends_a_trial_at_the_maximum():
    machine = Machine(asha(variant="stopping"), trials=4)
    machine.decide()
    for trial in range(4):
        machine.report(trial, 9, trial)
    assert stops(machine) == []


def test_in_rounds_a_stopping_trial_is_looked_at_between_segments():
    machine = Machine(asha(variant="stopping"), trials=3, round_size="all", slots=math.inf)
    assert machine.launched() == [(0, 1), (1, 1), (2, 1)]
    for trial in range(3):
        machine.pause(trial, trial)
    facts = machine.decide()
    assert [f.trial for f in facts if isinstance(f, Stopped)] == [2]
    assert [(f.trial, f.until) for f in facts if isinstance(f, Launched)] == [(0, 3), (1, 3)]


@pytest.mark.parametrize("variant", ["promotion", "stopping"])
def test_brackets_begin_at_their_rungs_and_lower_ones_are_likelier(variant):
    machine = Machine(asha(brackets=3, variant=variant), trials=2000, slots=math.inf)
    launched = machine.launched()
    shares = Counter(trial.bracket for trial in machine.history.trials)
    found = [shares[bracket] / 2000 for bracket in range(3)]
    assert found == pytest.approx([9 / 13, 3 / 13, 1 / 13], abs=0.03)
    first = {
        trial.bracket: until
        for trial, (_, until) in zip(machine.history.trials, launched, strict=True)
    }
    goals = {0: 1, 1: 3, 2: 9} if variant == "promotion" else {0: 9, 1: 9, 2: 9}
    assert first == goals


def test_brackets_begin_at_their_rungs_in_rounds_too():
    machine = Machine(asha(brackets=3), trials=40, round_size="all")
    machine.decide()
    first = {trial.bracket: trial.until for trial in machine.history.trials}
    assert first == {0: 1, 1: 3, 2: 9}


def test_brackets_are_ladders_of_their_own():
    machine = Machine(asha(brackets=2), trials=40, slots=40)
    machine.decide()
    members = {b: [t.number for t in machine.history.trials if t.bracket == b] for b in (0, 1)}
    for trial in members[0]:
        machine.pause(trial, 0)
    for trial in members[1]:
        machine.pause(trial, 1)
    goals = Counter(machine.launched())
    expected = {(t, 3) for t in members[0][: len(members[0]) // 3]}
    expected |= {(t, 9) for t in members[1][: len(members[1]) // 3]}
    assert set(goals) == expected


def test_after_a_study_has_finished_only_its_failed_trials_go_on():
    machine = Machine(asha(), slots=3, trials=4)
    machine.run(lambda trial, level: None if trial == 3 else trial)
    machine.history.append(Opened(1, retry_failed=True))
    first = len(machine.history.facts)
    # Its value would have made two of the others promotable, but they have been given up.
    history = machine.run(lambda trial, level: -1)
    assert {f.trial for f in history.facts[first:] if isinstance(f, Launched)} == {3}
    assert history.state == "finished"
