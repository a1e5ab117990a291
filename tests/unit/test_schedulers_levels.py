"""Rung levels and bracket tables, exactly as the papers have them."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow.errors import SpecError
from tuneflow.schedulers import ASHA, PBT, Hyperband, MedianStopping, SuccessiveHalving
from tuneflow.schedulers.levels import exact, falling_levels, rising_levels

R81 = [
    [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    [(34, 3), (11, 9), (3, 27), (1, 81)],
    [(15, 9), (5, 27), (1, 81)],
    [(8, 27), (2, 81)],
    [(5, 81)],
]
R27 = [
    [(27, 1), (9, 3), (3, 9), (1, 27)],
    [(12, 3), (4, 9), (1, 27)],
    [(6, 9), (2, 27)],
    [(4, 27)],
]


def test_hyperband_has_the_brackets_of_the_paper():
    assert Hyperband(max_resource=81).brackets() == R81
    assert Hyperband(max_resource=27).brackets() == R27


def test_hyperband_begins_brackets_as_hpbandster_does_when_told_to():
    brackets = Hyperband(max_resource=81, sizes="hpbandster").brackets()
    assert [bracket[0][0] for bracket in brackets] == [81, 27, 9, 6, 5]


@pytest.mark.parametrize(("most", "brackets"), [(243, 6), (729, 7), (3**13, 14), (1, 1), (2, 1)])
def test_no_bracket_is_lost_to_rounding(most, brackets):
    table = Hyperband(max_resource=most).brackets()
    assert len(table) == brackets
    assert [len(bracket) for bracket in table] == list(range(brackets, 0, -1))
    assert all(bracket[-1][1] == most for bracket in table)
    assert table[0][0] == (3 ** (brackets - 1), most // 3 ** (brackets - 1))


def test_the_default_number_of_trials_is_one_of_each_bracket():
    totals = {9: 17, 27: 49, 81: 143}
    assert {r: Hyperband(max_resource=r).default_trials for r in totals} == totals


def test_a_maximum_that_is_no_power_is_reached_exactly():
    assert falling_levels(1, 100, 3) == [1, 3, 11, 33, 100]
    assert rising_levels(1, 100, 3) == [1, 3, 9, 27, 81, 100]
    assert all(bracket[-1][1] == 100 for bracket in Hyperband(max_resource=100).brackets())


def test_factors_need_not_be_whole():
    assert rising_levels(1, 10, 1.5) == [1, 2, 3, 5, 7, 10]
    assert rising_levels(1, 20, 2.7) == [1, 2, 7, 19, 20]
    assert falling_levels(1, 10, 2.7) == [1, 3, 10]


@pytest.mark.parametrize(
    ("eta", "steps"),
    [(eta, steps) for eta in (2, 3, 5, 7, 10) for steps in range(1, 20) if eta**steps <= 10**6],
)
def test_a_fraction_written_as_a_float_loses_no_rung(eta, steps):
    levels = [1 / eta**k for k in range(steps, -1, -1)]
    assert falling_levels(1 / eta**steps, 1.0, eta) == levels
    assert rising_levels(1 / eta**steps, 1.0, eta) == levels


def test_numbers_are_taken_as_a_person_wrote_them():
    assert exact(2.7) == Fraction(27, 10)
    assert exact(1 / 27) == Fraction(1, 27)
    assert exact(math.pi) == Fraction("3.141592653589793")
    assert exact(3**40) == 3**40


_ETAS = st.integers(2, 6) | st.sampled_from([1.5, 2.7, 3.3])


@given(st.integers(1, 5000), st.integers(1, 5000), _ETAS)
def test_levels_rise_strictly_from_the_least_to_the_most(first, second, eta):
    least, most = sorted((first, second))
    for levels in (rising_levels(least, most, eta), falling_levels(least, most, eta)):
        assert levels[-1] == most
        assert all(a < b for a, b in itertools.pairwise(levels))
        assert levels[0] >= least


@given(st.integers(1, 3000), _ETAS)
def test_a_bracket_has_as_many_trials_as_the_formula_says(most, eta):
    factor = exact(eta)
    table = Hyperband(max_resource=most, reduction_factor=eta).brackets()
    s_max = len(table) - 1
    for s, bracket in zip(range(s_max, -1, -1), table, strict=True):
        n = math.ceil(Fraction(s_max + 1, s + 1) * factor**s)
        assert [size for size, _ in bracket] == [math.floor(n / factor**i) for i in range(s + 1)]


def test_successive_halving_ends_with_one_trial_by_default():
    assert SuccessiveHalving(max_resource=81).shapes() == [R81[0]]
    assert SuccessiveHalving(max_resource=9, n_trials=2).shapes() == [[(2, 1), (1, 3), (1, 9)]]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ASHA(max_resource=0), "max_resource"),
        (lambda: ASHA(max_resource=math.inf), "max_resource"),
        (lambda: ASHA(max_resource=9, min_resource=10), "min_resource"),
        (lambda: ASHA(max_resource=9, reduction_factor=1), "reduction_factor"),
        (lambda: ASHA(max_resource=9, brackets=9), "brackets"),
        (lambda: ASHA(max_resource=9, variant="both"), "variant"),
        (lambda: Hyperband(max_resource=True), "max_resource"),
        (lambda: Hyperband(max_resource=9, sizes="mine"), "sizes"),
        (lambda: SuccessiveHalving(max_resource=9, n_trials=0), "n_trials"),
        (lambda: MedianStopping(max_resource=0), "max_resource"),
        (lambda: MedianStopping(min_samples=0), "min_samples"),
        (lambda: MedianStopping(interval=0), "interval"),
        (lambda: PBT(max_resource=9, quantile=0.6), "quantile"),
        (lambda: PBT(max_resource=9, interval=10), "interval"),
        (lambda: PBT(max_resource=9, factors=(0,)), "factors"),
        (lambda: PBT(max_resource=9, resample_probability=2), "resample_probability"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(make, field):
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.field == f"scheduler.{field}"
