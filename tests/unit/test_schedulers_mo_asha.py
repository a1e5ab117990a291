"""Multi-objective ASHA: who is among the best when there are several metrics."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine import NAN, Machine
from tests.peeling import peeled
from tuneflow.errors import SpecError
from tuneflow.events import Stopped
from tuneflow.pareto import epsilon_net
from tuneflow.schedulers import ASHA, MOASHA
from tuneflow.schedulers.mo_asha import ParetoRung
from tuneflow.testing.world import World, fates


def machine(trials: int, *, mode="min", **changes) -> Machine:
    """Return a study of loss, to be made small, and of speed."""
    fields = {"max_resource": 9, "reduction_factor": 3, **changes}
    return Machine(MOASHA(**fields), slots=trials, trials=trials, other_metrics={"speed": mode})


def both(point) -> dict[str, float]:
    return {"loss": point[0], "speed": point[1]}


def promoted(points, **changes) -> list[int]:
    made = machine(len(points), **changes)
    made.decide()
    for trial, point in enumerate(points):
        made.pause(trial, both(point))
    return [trial for trial, _ in made.launched()]


def test_the_first_front_goes_before_the_second():
    # A front of two, and another one of two; the last two are dominated by all.
    assert promoted([(5, 5), (3, 4), (1, 2), (4, 3), (2, 1), (6, 6)]) == [2, 4]
    assert promoted([(5, 5), (3, 4), (1, 2), (4, 3), (2, 1), (6, 6)], reduction_factor=2) == [
        2,
        4,
        1,
    ]


def test_a_front_that_is_too_large_is_thinned_by_its_epsilon_net():
    line = [(4, 6), (0, 10), (10, 0), (5, 5), (8, 2), (9, 1)]
    assert promoted(line) == [1, 2]
    assert promoted(line, reduction_factor=2) == [1, 2, 3]


def test_the_modes_of_the_metrics_count():
    assert promoted([(1, 1), (1, 9), (2, 1)], mode="max") == [1]


def stopped(made: Machine) -> list[int]:
    return [fact.trial for fact in made.decide() if isinstance(fact, Stopped)]


@pytest.mark.parametrize("variant", ["promotion", "stopping"])
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=2, max_size=12),
    st.sampled_from([2, 3, 4]),
)
def test_whoever_dominates_all_others_goes_on(variant, points, eta):
    # Syne Tune 0.16 stops most of them: 35 of 50 that came after ten random ones.
    made = machine(len(points) + 1, variant=variant, reduction_factor=eta)
    made.decide()
    for trial, point in enumerate(points):
        made.report(trial, 1, both(point))
        if variant == "promotion":
            made.close(trial)
    stopped(made)
    last = len(points)
    made.report(last, 1, both((-1, -1)))
    if variant == "stopping":
        assert last not in stopped(made)
        return
    made.close(last)
    launched = made.launched()
    assert ((last, min(eta, 9)) in launched) == (len(points) + 1 >= eta)
    assert not launched or launched[0][0] == last


def test_stopping_ends_whoever_is_not_among_the_best():
    made = machine(7, variant="stopping")
    made.decide()
    ended = []
    for trial, point in enumerate([(1, 9), (9, 1), (5, 5), (6, 6), (2, 8), (0, 0), (5, 4)]):
        made.report(trial, 1, both(point))
        ended += stopped(made)
    # The third is of the front, but the first one has the only place; the sixth dominates all.
    assert ended == [2, 3, 4, 6]


@pytest.mark.parametrize("useless", [{"loss": -9}, {"speed": -9}, both((-9, NAN)), {}])
def test_half_a_result_ranks_last_and_is_never_promoted(useless):
    made = machine(3)
    made.decide()
    made.pause(0, useless)
    made.pause(1, both((5, 5)))
    made.pause(2, useless)
    assert made.launched() == [(1, 3)]


@pytest.mark.parametrize("variant", ["promotion", "stopping"])
@settings(deadline=None, max_examples=40)
@given(fates(), st.sampled_from([2, 3, 2.5]), st.integers(1, 20), st.sampled_from([None, "all", 3]))
def test_with_one_metric_it_decides_as_asha(variant, fate, eta, slots, rounds):
    fields = {"max_resource": 9, "reduction_factor": eta, "brackets": 2, "variant": variant}
    worlds = [
        World(made, fate, trials=14, slots=slots, round_size=rounds, seed=3)
        for made in (ASHA(**fields), MOASHA(**fields))
    ]
    asha, several = (world.run().facts for world in worlds)
    assert asha == several


POINTS = st.tuples(st.integers(0, 4).map(float), st.integers(0, 4).map(float))


@given(st.lists(POINTS | st.just((math.inf, math.inf)), max_size=14), st.sampled_from([2, 3, 1.5]))
def test_a_rung_knows_its_top_as_if_it_sorted_all_anew(points, eta):
    rung = ParetoRung(Fraction(str(eta)))
    for trial, point in enumerate(points):
        is_top = rung.add(trial, point, trial)
        count = math.floor((trial + 1) / Fraction(str(eta)))
        ranked = [
            one[k]
            for one in peeled(points[: trial + 1])
            for k in epsilon_net([points[p] for p in one])
        ]
        assert rung.top_size == count
        assert is_top == (trial in ranked[:count])
        usable = [p for p in ranked[:count] if points[p][0] < math.inf]
        assert rung.best_waiting() == (usable[0] if usable else None)


def test_those_that_were_promoted_make_room_for_nobody():
    rung = ParetoRung(Fraction(2))
    for trial, point in enumerate([(1, 4), (4, 1), (9, 9), (9, 9), (2, 2), (9, 9)]):
        rung.add(trial, point, trial)
    order = []
    while (trial := rung.best_waiting()) is not None:
        order.append(trial)
        rung.settle(trial)
    assert order == [0, 1, 4]


@pytest.mark.parametrize(
    ("field", "changes"), [("variant", {"variant": "neither"}), ("brackets", {"brackets": 4})]
)
def test_a_value_that_cannot_work_is_named(field, changes):
    with pytest.raises(SpecError, match=f"scheduler.{field}"):
        MOASHA(**{"max_resource": 9, "reduction_factor": 3, **changes})


def test_its_defaults_are_those_of_the_reference():
    made = MOASHA(max_resource=9)
    assert (made.min_resource, made.reduction_factor, made.variant, made.brackets) == (
        1,
        3,
        "promotion",
        1,
    )
    assert made.to_json() == {"type": "mo_asha", "max_resource": 9}
