"""What becomes of past configurations and results when the space has changed."""

from __future__ import annotations

import json
import random

import pytest

from tuneflow.errors import SpecError
from tuneflow.retune.mapping import SpaceMap, check_defaults, require_shared
from tuneflow.searchers.base import sampled
from tuneflow.space import (
    Branch,
    Categorical,
    Constant,
    Derived,
    Float,
    Grid,
    Int,
    Normal,
    Space,
)


def refuse(path, domain):
    raise AssertionError(f"{path} was drawn")


def draw(seed=0):
    return sampled(random.Random(seed))


def kinds(mapped):
    return {change.path: change.kind for change in mapped.changes}


def text(config):
    """Return what tells 1, 1.0 and True apart."""
    return json.dumps(config, sort_keys=True)


def halves(path, domain):
    return domain.from_unit(0.5)


def test_a_space_that_did_not_change_leaves_everything_as_it_is():
    fields = {
        "lr": Float(1e-4, 1, log=True),
        "opt": {"momentum": Float(0, 1), "nesterov": True},
        "model": Branch({"svm": {"C": Float(0, 10)}, "forest": {"trees": Int(1, 100)}}),
        "names": Derived("builtins:sorted"),
    }
    mapped = SpaceMap(Space(fields), Space(fields))
    config = {
        "lr": 0.5,
        "opt": {"momentum": 0.25, "nesterov": True},
        "model": {"type": "svm", "C": 1.0},
        "names": ["what", "was", "computed", "then"],
    }
    assert mapped.result(config, refuse) == config
    assert mapped.point(config) == {
        "lr": 0.5,
        "opt": {"momentum": 0.25},
        "model": {"type": "svm", "C": 1.0},
    }
    assert set(kinds(mapped).values()) == {"same"}


def beside(old, new):
    """Return the map of a parameter that changed beside one that did not."""
    return SpaceMap(Space({"x": old, "y": Int(0, 9)}), Space({"x": new, "y": Int(0, 9)}))


STANDING = {
    "wider": ("widened", Float(0, 1), Float(-1, 2), 0.3, 0.3),
    "without bounds": ("widened", Float(0, 1), Normal(), 0.3, 0.3),
    "in half steps": ("widened", Float(0, 1, step=0.1), Float(0, 1, step=0.05), 0.3, 0.3),
    "finer": ("widened", Normal(q=1.0), Normal(q=0.5), 2.0, 2.0),
    "more integers": ("widened", Int(1, 8), Int(1, 16, log=True), 3, 3),
    "more choices": ("widened", Categorical(("a", "b")), Grid(("b", "a", "c")), "a", "a"),
    "now searched": ("widened", Constant(0.3), Float(0, 1), 0.3, 0.3),
    "one of many": ("widened", Constant("a"), Categorical(("b", "a")), "a", "a"),
    "on a log scale": ("changed", Float(1e-3, 1), Float(1e-3, 1, log=True), 0.3, 0.3),
    "another prior": ("changed", Normal(), Normal(3, 2), 0.7, 0.7),
    "another order": ("changed", Categorical(("a", "b")), Categorical(("b", "a")), "a", "a"),
    "from step to q": ("changed", Float(0, 1, step=0.4), Float(0, 0.9, q=0.4), 0.4, 0.4),
    "integer to float": ("changed", Int(1, 8), Float(0, 9), 3, 3.0),
    "whole float": ("changed", Float(0, 9), Int(0, 9), 4.0, 4),
    "choice to range": ("changed", Categorical((16, 64)), Int(8, 128), 16, 16),
    "range to choice": ("changed", Float(0, 1), Categorical((0.5, 0.7)), 0.5, 0.5),
    "was computed": ("changed", Derived("builtins:len"), Int(0, 9), 2, 2),
    "still inside": ("narrowed", Float(0, 1), Float(0, 0.5), 0.3, 0.3),
    "a new step": ("narrowed", Float(0, 1), Float(0, 1, step=0.25), 0.3, 0.25),
    "four steps": ("narrowed", Float(0, 1, step=0.1), Float(0, 1, step=0.4), 0.7, 0.8),
    "past the last step": ("narrowed", Float(0, 1), Float(0, 1, step=0.3), 0.97, 0.9),
    "rounded": ("narrowed", Normal(), Normal(q=0.5), 0.7, 0.5),
    "even integers": ("narrowed", Int(1, 8), Int(2, 8, step=2), 5, 6),
}


@pytest.mark.parametrize("case", STANDING)
def test_a_value_stands_or_goes_to_the_nearest_step(case):
    kind, old, new, value, expected = STANDING[case]
    mapped = beside(old, new)
    assert kinds(mapped) == {"x": kind, "y": "same"}
    assert text(mapped.point({"x": value, "y": 1})) == text({"x": expected, "y": 1})
    assert text(mapped.result({"x": value, "y": 1}, refuse)) == text({"x": expected, "y": 1})


OUT_OF_RANGE = {
    "above": (Float(0, 1), Float(0, 0.5), 0.8, 0.5),
    "below": (Float(0, 1), Float(0.4, 3), 0.1, 0.4),
    "beyond a bound that is new": (Normal(), Float(-1, 1), 1.5, 1.0),
    "above the integers": (Int(1, 8), Int(1, 4), 7, 4),
    "fixed elsewhere": (Constant(3), Float(0, 1), 3, 1.0),
}


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_a_number_out_of_range_moves_to_the_end_in_a_point_and_makes_a_result_useless(case):
    old, new, value, nearest = OUT_OF_RANGE[case]
    mapped = beside(old, new)
    assert kinds(mapped)["x"] == "narrowed"
    assert text(mapped.point({"x": value, "y": 1})) == text({"x": nearest, "y": 1})
    assert mapped.result({"x": value, "y": 1}, halves) is None


GONE = {
    "choice": (Categorical(("a", "b")), Categorical(("b", "c")), "a"),
    "1, 1.0 and True are three": (Categorical((1, 2)), Grid((1.0, True)), 1),
    "fixed to none of them": (Constant("sgd"), Categorical(("adam", "lion")), "sgd"),
    "fixed to another number": (Float(0, 1), Constant(0.5), 0.4),
    "fixed to another type": (Categorical((True, 1)), Constant(1), True),
}


@pytest.mark.parametrize("case", GONE)
def test_a_value_that_is_gone_is_left_out_of_a_point_and_makes_a_result_useless(case):
    old, new, value = GONE[case]
    mapped = beside(old, new)
    assert kinds(mapped)["x"] == "narrowed"
    assert mapped.point({"x": value, "y": 1}) == {"y": 1}
    assert mapped.result({"x": value, "y": 1}, halves) is None


OF_ANOTHER_KIND = {
    "a share that became a percentage": (Float(0, 1), Int(0, 100), 0.3),
    "a percentage that became a share": (Int(0, 100), Float(0, 1), 30),
    "a word among numbers": (Categorical((16, "auto")), Int(8, 128), "auto"),
    "a fixed word": (Constant("auto"), Float(0, 1), "auto"),
    "between the choices": (Float(0, 1), Categorical((0.5, 0.7)), 0.6),
}


@pytest.mark.parametrize("case", OF_ANOTHER_KIND)
def test_a_value_of_another_kind_counts_as_unknown(case):
    old, new, value = OF_ANOTHER_KIND[case]
    mapped = beside(old, new)
    assert kinds(mapped)["x"] == "changed"
    assert mapped.point({"x": value, "y": 1}) == {"y": 1}
    drawn = {"x": halves("x", new), "y": 1}
    assert text(mapped.result({"x": value, "y": 1}, halves)) == text(drawn)


FIXED = {
    "to the value that it had": ("narrowed", Float(0, 1), Constant(0.5), 0.5, 0.5),
    "as an integer": ("narrowed", Float(0, 4), Constant(2), 2.0, 2),
    "before and after": ("changed", Constant("monday"), Constant("friday"), "monday", "friday"),
    "computed": ("changed", Float(0, 1), Derived("builtins:len"), 0.4, 1),
    "computed anew": ("changed", Derived("builtins:sorted"), Derived("builtins:len"), [], 1),
}


@pytest.mark.parametrize("case", FIXED)
def test_what_is_not_searched_has_todays_value(case):
    kind, old, new, value, expected = FIXED[case]
    mapped = beside(old, new)
    assert kinds(mapped)["x"] == kind
    assert mapped.point({"x": value, "y": 1}) == {"y": 1}
    assert text(mapped.result({"x": value, "y": 1}, refuse)) == text({"x": expected, "y": 1})


def test_a_new_parameter_is_left_out_of_points_and_drawn_for_results():
    mapped = SpaceMap(Space({"x": Int(0, 9)}), Space({"x": Int(0, 9), "drop": Float(0, 1)}))
    assert mapped.point({"x": 3}) == {"x": 3}
    drawn = [mapped.result({"x": 3}, draw(seed))["drop"] for seed in range(50)]
    assert min(drawn) < 0.2
    assert max(drawn) > 0.8
    assert mapped.changes[1].kind == "new"


def test_a_new_parameter_has_the_default_that_the_code_had_before():
    new = Space({"x": Int(0, 9), "opt": {"drop": Float(0, 1)}})
    mapped = SpaceMap(Space({"x": Int(0, 9)}), new, {"opt.drop": 0.1})
    assert mapped.point({"x": 3}) == {"x": 3, "opt": {"drop": 0.1}}
    assert mapped.result({"x": 3}, refuse) == {"x": 3, "opt": {"drop": 0.1}}
    assert str(mapped.changes[1]) == "opt.drop is new: past trials had 0.1"


def test_a_default_is_not_used_for_a_parameter_that_is_known_by_now():
    space = Space({"x": Int(0, 9), "drop": Float(0, 1)})
    mapped = SpaceMap(space, space, {"drop": 0.1})
    assert mapped.result({"x": 3, "drop": 0.7}, refuse) == {"x": 3, "drop": 0.7}
    assert mapped.point({"x": 3, "drop": 0.7}) == {"x": 3, "drop": 0.7}


def test_a_parameter_that_was_dropped_is_left_out():
    mapped = SpaceMap(
        Space({"x": Int(0, 9), "opt": {"momentum": Float(0, 1)}}), Space({"x": Int(0, 9)})
    )
    config = {"x": 3, "opt": {"momentum": 0.9}}
    assert mapped.point(config) == {"x": 3}
    assert mapped.result(config, refuse) == {"x": 3}
    assert str(mapped.changes[1]) == "opt.momentum is dropped: past values are left out"


def branches(**options):
    return Space({"x": Int(0, 9), "model": Branch(options)})


def test_the_parameters_of_a_branch_are_mapped_by_their_paths():
    mapped = SpaceMap(
        branches(svm={"C": Float(0, 10), "degree": Int(1, 3)}, forest={}),
        branches(
            forest={}, mlp={"width": Int(1, 99)}, svm={"C": Float(0, 5), "gamma": Float(0, 1)}
        ),
    )
    config = {"x": 1, "model": {"type": "svm", "C": 7.0, "degree": 2}}
    assert mapped.point(config) == {"x": 1, "model": {"type": "svm", "C": 5.0}}
    assert mapped.result(config, halves) is None
    config["model"]["C"] = 4.0
    expected = {"x": 1, "model": {"type": "svm", "C": 4.0, "gamma": 0.5}}
    assert mapped.result(config, halves) == expected
    assert kinds(mapped) == {
        "x": "same",
        "model": "widened",
        "model.mlp.width": "new",
        "model.svm.C": "narrowed",
        "model.svm.gamma": "new",
        "model.svm.degree": "dropped",
    }


def test_an_option_that_is_gone_takes_its_parameters_along():
    mapped = SpaceMap(
        branches(svm={"C": Float(0, 10)}, forest={"trees": Int(1, 9)}),
        branches(svm={"C": Float(0, 10)}),
    )
    config = {"x": 1, "model": {"type": "forest", "trees": 3}}
    assert mapped.point(config) == {"x": 1}
    assert mapped.result(config, halves) is None
    assert kinds(mapped)["model"] == "narrowed"
    assert kinds(mapped)["model.forest.trees"] == "dropped"


def test_the_key_of_a_branch_may_change():
    mapped = SpaceMap(
        Space({"model": Branch({"svm": {"C": Float(0, 1)}})}),
        Space({"model": Branch({"svm": {"C": Float(0, 1)}}, key="kind")}),
    )
    config = {"model": {"type": "svm", "C": 0.5}}
    assert mapped.result(config, refuse) == {"model": {"kind": "svm", "C": 0.5}}


def test_choices_become_the_options_of_a_branch_and_a_constant_too():
    new = Space({"model": Branch({"svm": {"C": Float(0, 1)}, "forest": {}})})
    defaults = {"model.svm.C": 0.25}
    expected = {"model": {"type": "svm", "C": 0.25}}
    for old in (Categorical(("svm", "forest")), Constant("svm")):
        mapped = SpaceMap(Space({"model": old}), new, defaults)
        assert mapped.point({"model": "svm"}) == expected
        assert mapped.result({"model": "svm"}, refuse) == expected


def test_a_default_below_an_option_that_is_drawn_holds_where_that_is_the_option():
    new = Space({"x": Int(0, 9), "model": Branch({"a": {"C": Float(0, 1)}, "b": {}})})
    mapped = SpaceMap(Space({"x": Int(0, 9)}), new, {"model.a.C": 0.25})
    found = [mapped.result({"x": 1}, draw(seed))["model"] for seed in range(20)]
    assert {"type": "b"} in found
    assert {"type": "a", "C": 0.25} in found
    assert len({str(model) for model in found}) == 2


def test_a_constant_of_an_option_that_was_not_taken_is_nobodys_value():
    old = Branch({"a": {"C": Constant(5.0)}, "b": {"D": Float(0, 1)}})
    new = Branch({"a": {"C": Float(0, 1)}, "b": {"D": Float(0, 1)}})
    mapped = SpaceMap(Space({"model": old}), Space({"model": new}))
    config = {"model": {"type": "b", "D": 0.5}}
    assert mapped.result(config, refuse) == config


def test_a_configuration_of_which_nothing_is_left_is_none():
    mapped = SpaceMap(Space({"x": Int(0, 9)}), Space({"y": Int(0, 9)}), {"y": 3})
    assert mapped.point({"x": 1}) is None
    assert mapped.result({"x": 1}, halves) is None
    gone = SpaceMap(Space({"x": Categorical(("a",))}), Space({"x": Categorical(("b",))}))
    assert gone.point({"x": "a"}) is None


def test_a_configuration_that_is_not_one_of_the_past_space_is_refused():
    mapped = SpaceMap(Space({"x": Int(0, 9)}), Space({"x": Int(0, 9)}))
    with pytest.raises(SpecError, match="x: 11 is outside"):
        mapped.point({"x": 11})
    with pytest.raises(SpecError, match="x: is missing"):
        mapped.result({}, halves)


@pytest.mark.parametrize(
    ("defaults", "problem"),
    [
        ({"drop": 7}, r"defaults\.drop: 7 is outside; allowed is a float from 0\.0 to 1\.0"),
        ({"dorp": 0.1}, r"defaults\.dorp: the space has no such parameter; did you mean 'drop'\?"),
        ({"fixed": 3}, r"defaults\.fixed: the space has no such parameter"),
    ],
)
def test_a_default_that_has_no_place_is_refused(defaults, problem):
    space = Space({"drop": Float(0, 1), "fixed": 3})
    with pytest.raises(SpecError, match=problem):
        check_defaults(space, defaults)
    with pytest.raises(SpecError, match=problem):
        SpaceMap(Space({}), space, defaults)


def test_spaces_that_share_no_parameter_are_refused_with_both_lists():
    old = Space({"C": Float(0, 1), "gamma": Float(0, 1), "data": "monday"})
    new = Space({"lr": Float(0, 1), "data": "friday"})
    with pytest.raises(SpecError, match="it has lr, and there was C, gamma") as caught:
        require_shared(SpaceMap(old, new))
    assert caught.value.field == "space"


def test_one_parameter_is_enough_to_share():
    shared = SpaceMap(Space({"a": Int(0, 1), "b": Int(0, 1)}), Space({"b": Float(0, 9)}))
    require_shared(shared)
    assert shared.shared == ("b",)


def test_a_mapped_configuration_shares_nothing_with_the_past_one():
    space = Space({"x": Categorical(([1, 2], [3]))})
    config = {"x": [1, 2]}
    mapped = SpaceMap(space, space)
    mapped.point(config)["x"].append(9)
    mapped.result(config, refuse)["x"].append(9)
    assert config == {"x": [1, 2]}
