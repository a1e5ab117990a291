"""PASHA: when a rung is unlocked, and what counts as noise."""

from __future__ import annotations

import math
from random import Random

import pytest

from tests.machine import NAN, Machine
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.schedulers import ASHA, PASHA
from tuneflow.schedulers.crossings import Crossings


def noisy(seed: int, spread: float, noise: float):
    """Return curves of 40 trials that get better with the level, but for noise."""
    draws = Random(seed)
    shapes = [(spread * draws.random(), draws.random()) for _ in range(40)]

    def curve(trial: int, level: int) -> float:
        end, fall = shapes[trial]
        return end + fall / level + noise * Random(1000 * trial + level).random()

    return curve


def play(machine: Machine, curve) -> None:
    """Let trial after trial report at each level up to where it pauses."""
    machine.decide()
    while machine.history.running:
        trial = next(iter(machine.history.running.values()))
        for level in range(trial.resource + 1, trial.until + 1):
            machine.report(trial.number, level, curve(trial.number, level))
        machine.close(trial.number)
        machine.decide()


def unlocked(machine: Machine) -> list[tuple[int, int, float]]:
    """Return after how many reports the top rung was at a level, and what epsilon was then."""
    rungs, found, count = machine.study.scheduler.rungs(machine.history), [], 0
    levels = machine.study.scheduler.levels
    for fact in machine.history.facts:
        rungs.apply(fact)
        count += isinstance(fact, Reported)
        at = levels[rungs.top]
        if isinstance(fact, Reported | Closed) and (not found or found[-1][1] != at):
            found.append((count, at, round(rungs._crossings.epsilon, 5)))
    return found


def goals(machine: Machine) -> set[int]:
    return {fact.until for fact in machine.history.facts if isinstance(fact, Launched)}


# From Syne Tune 0.13, whose PASHARungSystem was fed the same reports one by one: its
# ``current_max_t`` and ``epsilon``. (Its later releases have no PASHA.)
@pytest.mark.parametrize(
    ("curves", "expected", "reports"),
    [
        ((1, 0.3, 0.2), [(1, 3, 0), (22, 9, 0), (43, 27, 0.03947), (123, 81, 0.03465)], 146),
        ((5, 0.3, 0.05), [(1, 3, 0), (12, 9, 0), (51, 27, 0.01943)], 142),
        ((7, 0.3, 0.2), [(1, 3, 0), (68, 9, 0.15494), (80, 27, 0.01735)], 128),
        ((37, 0.3, 0.05), [(1, 3, 0), (18, 9, 0), (51, 27, 0), (198, 81, 0.00893)], 252),
    ],
)
def test_rungs_are_unlocked_where_the_reference_unlocks_them(curves, expected, reports):
    machine = Machine(PASHA(max_resource=81), slots=1, trials=40)
    play(machine, noisy(*curves))
    assert unlocked(machine) == expected
    assert sum(isinstance(fact, Reported) for fact in machine.history.facts) == reports


def test_an_order_that_is_clear_early_is_never_paid_for():
    machine = Machine(PASHA(max_resource=81), slots=1, trials=40)
    play(machine, lambda trial, level: trial * 37 % 40 + 1 / level)
    assert goals(machine) == {1, 3}
    assert machine.history.state == "finished"
    # ASHA goes up to the top.
    machine = Machine(ASHA(max_resource=81, reduction_factor=3), slots=1, trials=40)
    play(machine, lambda trial, level: trial * 37 % 40 + 1 / level)
    assert goals(machine) == {1, 3, 9, 27, 81}


def test_an_order_that_changes_at_each_rung_unlocks_all():
    machine = Machine(PASHA(max_resource=27), slots=1, trials=90)
    play(machine, lambda trial, level: trial * 37 % 90 * (-1) ** round(math.log(level, 3)))
    assert goals(machine) == {1, 3, 9, 27}


def pair(machine: Machine, first, second) -> list[tuple[int, int]]:
    """Let the two best of six trials report at 2 and 3, and return what is launched then."""
    machine.decide()
    for trial, value in enumerate([0.5, 0.6, 9, 9, 9, 9]):
        machine.pause(trial, value)
    assert machine.launched() == [(0, 3), (1, 3)]
    for trial, values in enumerate([first, second]):
        for level, value in zip((2, 3), values, strict=True):
            machine.report(trial, level, value)
        machine.close(trial)
    return machine.launched()


def six() -> Machine:
    return Machine(PASHA(max_resource=27, reduction_factor=3), slots=6, trials=6)


def test_two_trials_that_change_places_unlock_a_rung():
    machine = six()
    assert pair(machine, (0.4, 0.4), (0.3, 0.3)) == []
    assert unlocked(machine)[-1][1] == 9


def test_two_trials_that_cross_and_cross_back_are_noise():
    machine = six()
    pair(machine, (0.5, 0.30), (0.4, 0.35))
    assert unlocked(machine) == [(1, 3, 0)]
    # Their difference at the highest level is what noise is worth.
    rungs = machine.study.scheduler.rungs(machine.history)
    for fact in machine.history.facts:
        rungs.apply(fact)
    assert rungs._crossings.epsilon == pytest.approx(0.05)


@pytest.mark.parametrize("useless", [NAN, math.inf, None])
def test_a_useless_result_at_the_top_unlocks_nothing(useless):
    machine = six()
    pair(machine, (0.4, useless), (0.3, 0.3))
    assert unlocked(machine) == [(1, 3, 0)]


def test_equal_results_do_not_change_places():
    machine = six()
    pair(machine, (0.4, 0.3), (0.4, 0.3))
    assert unlocked(machine) == [(1, 3, 0)]


def test_with_one_rung_there_is_nothing_to_unlock():
    machine = Machine(PASHA(max_resource=1), slots=2, trials=4)
    history = machine.run(lambda trial, level: trial)
    assert history.state == "finished"
    assert goals(machine) == {1}


def crossings(percentile: float = 90) -> Crossings:
    found = Crossings(percentile)
    found.watch(1, 3)
    return found


def feed(found: Crossings, curves: list[list[float]]) -> float:
    for trial, curve in enumerate(curves):
        for level, loss in enumerate(curve, start=1):
            found.add(trial, level, loss)
    return found.epsilon


@pytest.mark.parametrize(
    ("curves", "epsilon"),
    [
        ([[1, 3, 1], [2, 2, 2]], 1),
        ([[1, 1, 1], [2, 2, 2]], 0),
        ([[1, 3, 3], [2, 2, 2]], 0),
        ([[2, 3, 1], [2, 2, 2]], 0),
        ([[1, 3, 2], [2, 2, 2]], 0),
        ([[1, 3, 1, 9], [2, 2, 2]], 1),
        ([[1, math.inf, 1], [2, 2, 2]], 0),
    ],
)
def test_curves_count_as_noise_when_they_cross_and_cross_back(curves, epsilon):
    assert feed(crossings(), curves) == epsilon


def test_epsilon_is_a_percentile_with_linear_interpolation():
    # Differences 1, 1, 2, 3, 3 and 4, as numpy.percentile has them.
    curves = [[1, 8, 1], [2, 7, 2], [4, 6, 4], [5, 5, 5]]
    assert feed(crossings(90), curves) == 3.5
    assert feed(crossings(50), curves) == 2.5
    assert feed(crossings(100), curves) == 4
    assert feed(crossings(0), curves) == 1


def test_epsilon_stays_while_no_pair_of_the_new_top_rungs_is_known():
    found = crossings()
    assert feed(found, [[1, 3, 1], [2, 2, 2]]) == 1
    found.watch(3, 9)
    assert found.epsilon == 1
    found.add(0, 4, 5)
    found.add(1, 4, 2.5)
    assert found.epsilon == 2.5


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("percentile", {"percentile": 101}),
        ("percentile", {"percentile": -1}),
        ("percentile", {"percentile": math.nan}),
        ("min_resource", {"min_resource": 82}),
        ("reduction_factor", {"reduction_factor": 1}),
    ],
)
def test_a_value_that_cannot_work_is_named(field, changes):
    with pytest.raises(SpecError, match=f"scheduler.{field}"):
        PASHA(**{"max_resource": 81, **changes})


def test_its_defaults_are_those_of_the_reference():
    scheduler = PASHA(max_resource=81)
    assert (scheduler.min_resource, scheduler.reduction_factor, scheduler.percentile) == (1, 3, 90)
    assert scheduler.to_json() == {"type": "pasha", "max_resource": 81}
