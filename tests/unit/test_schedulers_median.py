"""The median stopping rule."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, Machine
from tuneflow.events import Launched, Stopped
from tuneflow.schedulers import MedianStopping
from tuneflow.trial import TrialState


def make(curves, *, newcomers: int = 1, rule: MedianStopping | None = None, **changes) -> Machine:
    """Return a machine in which trials with these curves are complete, and others run."""
    rule = rule or MedianStopping(max_resource=4)
    machine = Machine(rule, trials=len(curves) + newcomers, **changes)
    machine.decide()
    for trial, curve in enumerate(curves):
        for level, value in enumerate(curve, start=1):
            machine.report(trial, level, value)
        machine.close(trial)
    assert stops(machine) == []
    return machine


def stops(machine: Machine) -> list[int]:
    return [fact.trial for fact in machine.decide() if isinstance(fact, Stopped)]


# Running averages at level 2: 2, 3 and 7; their median is 3.
CURVES = [[1, 3, 0, 0], [4, 2, 0, 0], [9, 5, 0, 0]]


@pytest.mark.parametrize(("values", "stopped"), [([9, 3.1], [3]), ([9, 3], []), ([2.9, 50], [])])
def test_the_best_value_so_far_is_held_against_the_median_of_averages(values, stopped):
    machine = make(CURVES)
    # At level 1 the median is 4: only the last report may stop the trial.
    machine.report(3, 1, min(values[0], 4))
    assert stops(machine) == []
    machine = make(CURVES, rule=MedianStopping(max_resource=4, min_resource=2))
    for level, value in enumerate(values, start=1):
        machine.report(3, level, value)
    assert stops(machine) == stopped


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    curves = [*CURVES, [6, 6, 0, 0]]
    for value, stopped in ((5, []), (5.1, [4])):
        machine = make(curves)
        # At level 1 the values are 1, 4, 6 and 9.
        machine.report(4, 1, value)
        assert stops(machine) == stopped


def test_a_larger_metric_is_better_in_mode_max():
    machine = make(CURVES, mode="max")
    machine.report(3, 1, 3.9)
    assert stops(machine) == [3]


def test_nobody_is_stopped_before_enough_trials_are_complete():
    machine = make(CURVES[:2])
    machine.report(2, 1, 1000)
    assert stops(machine) == []


def test_nobody_is_stopped_at_the_maximum():
    machine = make(CURVES)
    machine.report(3, 4, 1000)
    assert stops(machine) == []
    machine.close(3)
    assert machine.history.trials[3].state is TrialState.COMPLETED


@pytest.mark.parametrize("useless", [NAN, math.inf, -math.inf, None])
def test_a_useless_report_neither_stops_its_trial_nor_moves_the_median(useless):
    curves = [[1, 3, useless, 0], [useless] * 3 + [0], [4, useless, 2, 0], [9, 5, 0, 0]]
    machine = make(curves, newcomers=2)
    machine.report(4, 1, useless)
    machine.report(4, 2, useless)
    assert stops(machine) == []
    # At level 2 the averages are 2, 4 and 7.
    machine.report(4, 3, useless)
    machine.report(5, 2, 4.1)
    assert stops(machine) == [5]


def test_a_trial_whose_last_report_is_useless_is_complete_all_the_same():
    machine = make([*CURVES, [1, 1, 1, NAN]])
    assert machine.history.trials[3].state is TrialState.COMPLETED
    assert machine.history.retries == {}


def test_a_trial_is_told_to_stop_once():
    machine = make(CURVES)
    machine.report(3, 1, 1000)
    assert stops(machine) == [3]
    machine.report(3, 2, 1000)
    assert stops(machine) == []


def test_in_rounds_a_trial_is_looked_at_every_interval():
    rule = MedianStopping(max_resource=7, min_resource=3, interval=2)
    machine = Machine(rule, trials=1, round_size="all", slots=math.inf)
    goals = []
    while True:
        facts = machine.decide()
        goals += [fact.until for fact in facts if isinstance(fact, Launched)]
        if not machine.history.running:
            break
        machine.pause(0, 1)
    assert goals == [3, 5, 7]
