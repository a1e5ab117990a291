"""Numeric domains: which values there are, and how likely each is."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest

from tuneflow.errors import SpecError
from tuneflow.space import Float, Int, Normal

TOP = math.nextafter(1.0, 0.0)


def shares(domain, draws=12_000):
    """The share of evenly spread u that each value gets."""
    counts = Counter(domain.from_unit((i + 0.5) / draws) for i in range(draws))
    return {value: count / draws for value, count in sorted(counts.items())}


def test_a_float_covers_its_range_from_low_to_just_below_high():
    domain = Float(-2, 6)
    assert [domain.from_unit(u) for u in (0.0, 0.25, 0.5)] == [-2.0, 0.0, 2.0]
    assert domain.from_unit(TOP) == pytest.approx(6.0)
    assert domain.size is None
    assert domain.grid() is None


def test_a_log_float_gives_each_decade_the_same_share():
    domain = Float(1e-4, 1.0, log=True)
    decades = Counter(
        math.floor(math.log10(domain.from_unit(i / 4000 + 1e-9))) for i in range(4000)
    )
    assert set(decades) == {-4, -3, -2, -1}
    assert all(abs(count - 1000) <= 1 for count in decades.values())


def test_a_stepped_float_has_the_decimals_one_would_write():
    assert Float(0, 1, step=0.1).grid() == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def test_a_step_that_was_computed_by_division_still_reaches_the_top():
    domain = Float(0, 1, step=1 / 11)
    assert domain.size == 12
    assert domain.bounds == (0.0, 1.0)


def test_the_last_step_below_high_is_the_top():
    domain = Float(0, 1, step=0.4)
    assert domain.grid() == (0.0, 0.4, 0.8)
    assert domain.bounds == (0.0, 0.8)
    assert not domain.contains(1.0)
    assert domain.from_unit(TOP) == 0.8


def test_steps_are_equally_likely():
    assert list(shares(Float(0, 1, step=0.25)).values()) == pytest.approx([0.2] * 5, abs=1e-3)
    assert list(shares(Int(3, 13, step=5)).values()) == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_quantised_floats_are_rounded_so_the_outermost_get_half_a_share():
    expected = {0.0: 0.125, 0.5: 0.25, 1.0: 0.25, 1.5: 0.25, 2.0: 0.125}
    assert shares(Float(0, 2, q=0.5)) == pytest.approx(expected, abs=1e-3)


def test_quantised_values_are_the_multiples_of_q_between_the_bounds():
    assert Float(0.25, 1.1, q=0.2).grid() == (0.4, 0.6, 0.8, 1.0)
    assert Float(-0.3, 0.3, q=0.2).grid() == (-0.2, 0.0, 0.2)
    assert Int(3, 17, q=5).grid() == (5, 10, 15)
    assert Int(-7, 7, q=5).grid() == (-5, 0, 5)


def test_quantised_integers_follow_the_law_of_rounding_a_drawn_integer():
    """Of 0 … 10, three are nearest to 0, five to 5 and three to 10."""
    expected = {0: 3 / 11, 5: 5 / 11, 10: 3 / 11}
    assert shares(Int(0, 10, q=5)) == pytest.approx(expected, abs=1e-3)


def test_quantising_integers_by_one_changes_nothing():
    plain, quantised = shares(Int(2, 7)), shares(Int(2, 7, q=1))
    assert plain == quantised


def test_a_quantised_log_float_never_rounds_down_to_zero():
    domain = Float(1e-12, 1.0, log=True, q=0.25)
    assert domain.grid() == (0.25, 0.5, 0.75, 1.0)
    assert domain.from_unit(0.0) == 0.25


def test_a_log_integer_owns_half_a_unit_on_either_side():
    span = math.log(4.5 / 0.5)
    expected = {k: math.log((k + 0.5) / (k - 0.5)) / span for k in (1, 2, 3, 4)}
    assert shares(Int(1, 4, log=True)) == pytest.approx(expected, abs=1e-3)


def test_integers_beyond_the_precision_of_a_float_stay_exact():
    low = 2**60
    for domain in (Int(low, low + 10), Int(low, low + 10, log=True)):
        assert domain.from_unit(0.0) == low
        assert domain.from_unit(TOP) == low + 10
        assert [domain.from_unit(domain.to_unit(value)) for value in domain.grid()] == list(
            range(low, low + 11)
        )


def test_a_wide_integer_range_is_neither_listed_nor_refused():
    domain = Int(0, 2**80)
    assert domain.size == 2**80 + 1
    assert domain.grid() is None
    assert domain.contains(domain.from_unit(0.123))


def test_a_narrow_log_range_keeps_its_resolution():
    low, high = 1.0, 1.0 + 1e-12
    domain = Float(low, high, log=True)
    middle = domain.from_unit(0.5)
    assert low < middle < high
    assert middle - low == pytest.approx(5e-13, rel=1e-3)


@pytest.mark.parametrize(
    "domain", [Float(2, 2), Float(2, 2, log=True), Int(2, 2), Int(2, 2, log=True)]
)
def test_equal_bounds_are_a_single_value(domain):
    assert domain.grid() == (2,)
    assert domain.from_unit(domain.to_unit(2)) == 2


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Float(0, 1), [0, 1, 0.0, 1.0, 0.5], [True, "0.5", None, -1e-300, 1.0000001, math.nan]),
        (Float(0, 1), [], [math.inf, -math.inf, 10**400, [0.5]]),
        (Float(0, 1, step=0.1), [0.3, 0.1 + 0.2, 1], [0.35, 0.3 + 1e-6]),
        (Float(0, 1, q=0.3), [0.0, 0.3, 0.9], [1.0, 0.2]),
        (Int(1, 9), [1, 9], [0, 10, 3.0, True, "3", None]),
        (Int(1, 9, step=3), [1, 4, 7], [2, 9]),
        (Int(0, 9, q=4), [0, 4, 8], [9, 1]),
        (Normal(0, 1), [0, -50.0, 1e300], [math.nan, math.inf, True, "0", 10**400]),
        (Normal(0, 1, q=0.5), [-1.5, 2], [0.4]),
    ],
)
def test_membership_is_exact(domain, inside, outside):
    assert [value for value in inside if not domain.contains(value)] == []
    assert [value for value in outside if domain.contains(value)] == []


def test_snapping_goes_to_the_nearest_value():
    assert Int(1, 9, step=3).snap(5.4) == 4
    assert Int(1, 9, step=3).snap(100) == 7
    assert Float(0, 1, step=0.25).snap(0.6) == 0.5
    assert Float(0, 1).snap(-3) == 0.0
    assert Normal(0, 1, q=0.5).snap(0.8) == 1.0


def test_a_normal_has_its_mean_in_the_middle_and_its_deviation_where_it_belongs():
    domain = Normal(10, 2)
    assert domain.from_unit(0.5) == 10.0
    assert domain.from_unit(0.8413447460685429) == pytest.approx(12.0)
    assert math.isfinite(domain.from_unit(0.0))
    assert math.isfinite(domain.from_unit(TOP))


def test_a_quantised_normal_yields_multiples():
    values = {Normal(0, 1, q=0.1).from_unit((i + 0.5) / 500) for i in range(500)}
    assert 0.3 in values
    assert all(Fraction(repr(value)) % Fraction("0.1") == 0 for value in values)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Float(2, 1), "low"),
        (lambda: Float(0, math.inf), "high"),
        (lambda: Float(math.nan, 1), "low"),
        (lambda: Float(True, 2), "low"),
        (lambda: Float("0", 2), "low"),
        (lambda: Float(0, 10**400), "high"),
        (lambda: Float(0, 1, log=True), "low"),
        (lambda: Float(-1e308, 1e308), "high"),
        (lambda: Float(5e-324, 1e308, log=True), "low"),
        (lambda: Float(0, 1, log=1), "log"),
        (lambda: Float(0, 1, step=0), "step"),
        (lambda: Float(0, 1, step=-0.1), "step"),
        (lambda: Float(0, 1e20, step=0.1), "step"),
        (lambda: Float(0, 1, step=0.1, q=0.1), "q"),
        (lambda: Float(0.1, 0.4, q=0.5), "q"),
        (lambda: Int(3, 2), "low"),
        (lambda: Int(1.0, 2), "low"),
        (lambda: Int(True, 2), "low"),
        (lambda: Int(0, 8, log=True), "low"),
        (lambda: Int(0, 8, step=0), "step"),
        (lambda: Int(0, 8, step=0.5), "step"),
        (lambda: Int(0, 8, step=2, q=2), "q"),
        (lambda: Int(1, 4, q=5), "q"),
        (lambda: Int(0, 2**1001), "high"),
        (lambda: Normal(0, 0), "sd"),
        (lambda: Normal(0, 1e308), "sd"),
        (lambda: Normal(1e300, 1, q=1), "q"),
    ],
)
def test_what_cannot_work_is_refused_by_the_name_of_its_field(make, field):
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.field == field


def test_an_integral_float_bound_is_told_how_to_be_an_integer():
    with pytest.raises(SpecError, match="write 8"):
        Int(1, 8.0)


def test_domains_are_equal_when_their_json_is():
    assert Float(0, 1) == Float(0.0, 1.0)
    assert hash(Float(0, 1)) == hash(Float(0.0, 1.0))
    assert Float(0, 1) != Int(0, 1)
    assert Float(0, 1, step=0.5) != Float(0, 1, q=0.5)
