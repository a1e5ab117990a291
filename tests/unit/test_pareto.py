"""Fronts and epsilon nets, held against what their definitions say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peeling import peeled, undominated
from tuneflow.pareto import dominates, epsilon_net, front, insert

NUMBERS = st.integers(-3, 3).map(float) | st.floats(-10, 10)


def points(least=1, most=3):
    """Return a strategy for points of a few objectives; ties are common, and some are useless."""

    def of(size):
        usable, useless = st.tuples(*[NUMBERS] * size), st.just((math.inf,) * size)
        return st.lists(usable | useless, max_size=15)

    return st.integers(least, most).flatmap(of)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1, 2), (1, 3), True),
        ((1, 3), (1, 2), False),
        ((1, 2), (1, 2), False),
        ((1, 3), (2, 2), False),
        ([1, 2], (1, 2), False),
        ((0, 0), (math.inf, math.inf), True),
        ((math.inf, math.inf), (math.inf, math.inf), False),
    ],
)
def test_a_point_dominates_when_it_is_nowhere_worse_and_somewhere_better(one, other, expected):
    assert dominates(one, other) is expected


def test_no_points_have_no_front():
    assert front([]) == epsilon_net([]) == []


def test_equal_points_are_in_one_front():
    assert front([(1, 2), (0, 3), (1, 2), (1, 3)]) == [0, 1, 2]


@given(points())
def test_the_front_is_what_nobody_dominates(cloud):
    assert front(cloud) == undominated(range(len(cloud)), cloud)


@given(points())
def test_points_that_come_one_by_one_make_the_same_fronts(cloud):
    found = []
    for position in range(len(cloud)):
        insert(found, cloud[: position + 1], position)
        assert [sorted(one) for one in found] == peeled(cloud[: position + 1])


def test_an_epsilon_net_begins_with_the_first_objective_and_goes_to_the_furthest():
    # On a line: the left end, the right end, the middle, and then what lies in the larger gap.
    line = [(4.0, 6.0), (0.0, 10.0), (10.0, 0.0), (5.0, 5.0), (8.0, 2.0)]
    assert epsilon_net(line) == [1, 2, 3, 4, 0]


def test_of_points_that_are_as_far_the_earlier_one_is_taken():
    assert epsilon_net([(1.0, 1.0), (0.0, 2.0), (2.0, 0.0), (0.0, 2.0)]) == [1, 2, 0, 3]
    assert epsilon_net([(7.0,)] * 4) == [0, 1, 2, 3]
    assert epsilon_net([(math.inf, math.inf)] * 3) == [0, 1, 2]


@settings(max_examples=50)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_each_point_of_an_epsilon_net_is_the_furthest_from_those_before(cloud):
    order = epsilon_net(cloud)
    assert sorted(order) == list(range(len(cloud)))
    assert cloud[order[0]][0] == min(x for x, _ in cloud)
    for k in range(1, len(order)):

        def gap(position, before=tuple(order[:k])):
            return min(math.dist(cloud[position], cloud[other]) for other in before)

        assert gap(order[k]) == max(map(gap, order[k:]))


@given(points(2, 2), st.integers(0, 20))
def test_the_first_of_an_epsilon_net_can_be_had_alone(cloud, count):
    assert epsilon_net(cloud, count) == epsilon_net(cloud)[:count]
