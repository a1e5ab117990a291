"""DEHB's scheduler: the brackets of the reference, each place a new trial."""

from __future__ import annotations

import pytest

from tests.machine import Machine
from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.events import Launched, Opened
from tuneflow.schedulers import DEHB, Start
from tuneflow.trial import TrialState

# From dehb 0.1.2: `_get_next_iteration` with eta 3 and a minimum fidelity of 1.
BRACKETS = [
    (9, [[(9, 1), (3, 3), (1, 9)], [(3, 3), (1, 9)], [(3, 9)]]),
    (
        27,
        [
            [(27, 1), (9, 3), (3, 9), (1, 27)],
            [(9, 3), (3, 9), (1, 27)],
            [(6, 9), (2, 27)],
            [(4, 27)],
        ],
    ),
    (
        81,
        [
            [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
            [(27, 3), (9, 9), (3, 27), (1, 81)],
            [(9, 9), (3, 27), (1, 81)],
            [(6, 27), (2, 81)],
            [(5, 81)],
        ],
    ),
]


@pytest.mark.parametrize(("most", "brackets"), BRACKETS)
def test_the_brackets_are_those_of_the_reference(most, brackets):
    scheduler = DEHB(max_resource=most)
    assert scheduler.brackets() == brackets
    assert scheduler.default_trials == sum(count for rungs in brackets for count, _ in rungs)


@pytest.mark.parametrize("slots", [1, 3, 1000])
def test_every_place_is_a_new_trial_that_begins_from_nothing(slots):
    machine = Machine(DEHB(max_resource=9), slots=slots)
    history = machine.run(lambda trial, level: trial * 7919 % 1009)
    places = {}
    for trial in history.trials:
        assert trial.segment == 0
        assert trial.start == 0
        place = (trial.bracket, trial.reports[-1].resource)
        places[place] = places.get(place, 0) + 1
    assert places == {(0, 1): 9, (0, 3): 3, (0, 9): 1, (1, 3): 3, (1, 9): 1, (2, 9): 3}
    assert history.spent == 9 * 1 + 6 * 3 + 5 * 9
    assert history.finished == "all 20 trials are done"


def test_a_rung_waits_for_the_one_below_and_the_next_bracket_begins():
    machine = Machine(DEHB(max_resource=3), slots=3)
    assert machine.launched() == [(0, 1), (1, 1), (2, 1)]
    machine.pause(0, 1)
    machine.pause(1, 2)
    # Trial 2 lags behind: bracket 1 has two places at level 3.
    assert machine.launched() == [(3, 3), (4, 3)]
    assert [trial.bracket for trial in machine.history.trials] == [0, 0, 0, 1, 1]
    machine.pause(2, 3)
    machine.pause(3, 1)
    assert machine.launched() == [(5, 3)]
    assert machine.history.trials[5].bracket == 0


def test_no_bracket_begins_before_that_of_the_cycle_before_is_over():
    machine = Machine(DEHB(max_resource=9), slots=1000, trials=100)
    assert machine.launched() == [
        *((trial, 1) for trial in range(9)),
        *((trial, 3) for trial in range(9, 12)),
        *((trial, 9) for trial in range(12, 15)),
    ]
    for trial in range(12, 15):
        machine.pause(trial, 0)
    # Bracket 2 is over, but bracket 3 comes after bracket 0.
    assert machine.launched() == []
    for trial in range(9):
        machine.pause(trial, 0)
    assert machine.launched() == [(15, 3), (16, 3), (17, 3)]
    for trial in range(15, 18):
        machine.pause(trial, 0)
    assert machine.launched() == [(18, 9)]
    machine.pause(18, 0)
    assert machine.launched() == [(trial, 1) for trial in range(19, 28)]


def test_rounds_without_a_size_are_the_rungs_of_a_cycle():
    machine = Machine(DEHB(max_resource=9), slots=float("inf"), round_size="all")
    rounds = []
    while launched := machine.launched():
        rounds.append(len(launched))
        for trial, _ in launched:
            machine.pause(trial, trial)
    assert rounds == [9 + 3 + 3, 3 + 1, 1]


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_a_failed_trial_holds_nobody_up(status):
    budget = Budget(max_losses_per_trial=0)
    machine = Machine(DEHB(max_resource=3), slots=3, budget=budget)
    machine.decide()
    for trial in range(3):
        machine.close(trial, status)
    assert machine.launched() == [(3, 3), (4, 3), (5, 3)]
    assert [trial.bracket for trial in machine.history.trials] == [0, 0, 0, 0, 1, 1]


def test_a_trial_that_waits_for_a_retry_holds_its_rung():
    machine = Machine(DEHB(max_resource=3), slots=3, budget=Budget(max_failures_per_trial=1))
    machine.decide()
    machine.pause(0, 0)
    machine.pause(1, 1)
    machine.close(2, "failed")
    assert machine.launched() == [(2, 1), (3, 3), (4, 3)]
    machine.pause(2, 2)
    assert machine.launched() == [(5, 3)]
    assert machine.history.trials[5].bracket == 0


def test_whoever_waited_when_the_study_finished_holds_nobody_up_later():
    budget = Budget(target=0, max_failures_per_trial=1)
    machine = Machine(DEHB(max_resource=3), slots=4, budget=budget)
    machine.decide()
    machine.close(0, "failed")
    machine.report(3, 3, 0)
    machine.decide()
    assert machine.history.finished is not None
    for trial in (1, 2, 3):
        machine.close(trial, "lost")
    history = machine.rebuilt()
    history.append(Opened(1, retry_failed=True))
    assert DEHB(max_resource=3).next(history) == Start(3, 0)


def test_failed_trials_are_tried_again_at_their_level_and_no_rung_is_filled_twice():
    machine = Machine(DEHB(max_resource=3), slots=2)
    machine.run(lambda trial, level: None if trial in (0, 4) else trial)
    machine.history.append(Opened(1, retry_failed=True))
    first = len(machine.history.facts)
    history = machine.run(lambda trial, level: -1)
    again = [fact for fact in history.facts[first:] if isinstance(fact, Launched)]
    assert [(fact.trial, fact.until) for fact in again] == [(0, 1), (4, 3)]
    assert history.counts[TrialState.FAILED] == 0


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("max_resource", {"max_resource": -1}),
        ("min_resource", {"max_resource": 9, "min_resource": 10}),
        ("reduction_factor", {"max_resource": 9, "reduction_factor": 1}),
    ],
)
def test_what_makes_no_sense_is_refused(field, given):
    with pytest.raises(SpecError, match=f"scheduler.{field}"):
        DEHB(**given)
