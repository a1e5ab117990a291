"""Domains that list their values, and derived values."""

from __future__ import annotations

import math
import pickle

import pytest

from tuneflow.errors import SpecError
from tuneflow.space import Categorical, Constant, Derived, Float, Grid


def test_each_choice_has_the_same_share():
    domain = Categorical(("a", "b", "c", "d"))
    assert [domain.from_unit(u) for u in (0.0, 0.25, 0.5, 0.75, math.nextafter(1, 0))] == list(
        "abcdd"
    )
    assert [domain.to_unit(value) for value in "abcd"] == [0.125, 0.375, 0.625, 0.875]


def test_true_one_and_one_point_zero_are_three_choices():
    domain = Categorical((True, 1, 1.0))
    values = [domain.from_unit(domain.to_unit(value)) for value in (True, 1, 1.0)]
    assert [type(value) for value in values] == [bool, int, float]
    assert not Categorical((1,)).contains(True)
    assert not Categorical((1,)).contains(1.0)
    assert not Categorical((0,)).contains(False)


def test_domains_of_equal_looking_choices_differ():
    assert Categorical((1,)) != Categorical((True,))
    assert Constant(1) != Constant(1.0)
    assert Grid((1,)) != Categorical((1,))


def test_choices_may_be_lists_and_mappings():
    domain = Categorical(([64, 64], {"b": 1, "a": None}, None))
    assert domain.contains([64, 64])
    assert domain.contains((64, 64))
    assert domain.contains({"a": None, "b": 1})
    assert domain.contains(None)
    assert not domain.contains([64, 64.0])
    assert not domain.contains({64})


def test_a_value_handed_out_can_be_changed_without_changing_the_domain():
    domain = Categorical(([1, [2]],))
    domain.from_unit(0.5)[1].append(3)
    assert domain.from_unit(0.5) == [1, [2]]


def test_a_list_given_can_be_changed_without_changing_the_domain():
    given = [[1]]
    domain = Categorical(given)
    given[0].append(2)
    assert domain.grid() == ([1],)


@pytest.mark.parametrize(
    ("choices", "field"),
    [
        ((), "choices"),
        ("relu", "choices"),
        ({"relu", "tanh"}, "choices"),
        ((1, 2, 1), "choices[2]"),
        (([1], [1]), "choices[1]"),
        ((1, math.nan), "choices[1]"),
        ((len,), "choices[0]"),
        (({"a": {1: 2}},), "choices[0].a"),
    ],
)
def test_bad_choices_are_refused_by_their_place(choices, field):
    with pytest.raises(SpecError) as caught:
        Categorical(choices)
    assert caught.value.field == field


@pytest.mark.parametrize("hidden", [Float(0, 1), {"C": Float(0, 1)}, [[{"C": Float(0, 1)}]]])
def test_a_domain_among_the_choices_points_to_branch(hidden):
    with pytest.raises(SpecError, match="branch"):
        Categorical(("none", hidden))


def test_the_unit_of_a_value_outside_is_an_error():
    with pytest.raises(SpecError, match="'c' is not one of 'a', 'b'"):
        Categorical(("a", "b")).to_unit("c")


def test_a_constant_has_one_value():
    assert Constant({"a": 1}).grid() == ({"a": 1},)
    assert Constant(None).to_json() == {"type": "constant", "value": None}


def test_a_derived_value_is_computed_from_a_copy_of_the_configuration():
    config = {"b": [1], "a": 2}
    assert Derived("builtins:sorted").compute(config) == ["a", "b"]
    assert Derived("copy:copy").compute(config)["b"] is not config["b"]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("no_such_module_at_all:f", "ModuleNotFoundError"),
        ("math:no_such_function", "AttributeError"),
        ("math:pi", "not a function"),
        ("builtins:int", "raised TypeError"),
        ("builtins:set", "returned a bad value"),
    ],
)
def test_a_derived_value_that_cannot_be_computed_says_why(function, reason):
    with pytest.raises(SpecError, match=reason) as caught:
        Derived(function).compute({"a": 1})
    assert pickle.loads(pickle.dumps(caught.value)).problem == caught.value.problem


@pytest.mark.parametrize("function", ["math.sqrt", "a b:c", "", ":f", "m:", None])
def test_a_derived_value_needs_an_import_path(function):
    with pytest.raises(SpecError, match=r"package\.module:function"):
        Derived(function)


def test_a_function_in_place_of_its_path_is_told_its_path():
    with pytest.raises(SpecError, match="write 'math:sqrt'"):
        Derived(math.sqrt)


def test_a_derived_value_cannot_be_drawn():
    with pytest.raises(SpecError, match="cannot be drawn"):
        Derived("builtins:len").from_unit(0.5)
