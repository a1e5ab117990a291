"""From a space to configurations and back."""

from __future__ import annotations

import pytest

from tuneflow.errors import SpecError
from tuneflow.space import Branch, Categorical, Constant, Derived, Float, Grid, Int, Space

SPACE = Space(
    {
        "lr": Float(0, 1),
        "opt": {"momentum": Float(0, 1), "nesterov": True},
        "model": Branch(
            {
                "svm": {"C": Float(0, 10), "kernel": {"degree": Int(1, 3)}},
                "forest": {"trees": Int(1, 100)},
            }
        ),
        "keys": Derived("builtins:sorted"),
        "layers": Int(1, 4),
    }
)

SVM = {
    "lr": 0.5,
    "opt": {"momentum": 0.9, "nesterov": True},
    "model": {"type": "svm", "C": 1.0, "kernel": {"degree": 2}},
    "layers": 3,
    "keys": ["layers", "lr", "model", "opt"],
}

SVM_VALUES = {
    "lr": 0.5,
    "opt.momentum": 0.9,
    "model": "svm",
    "model.svm.C": 1.0,
    "model.svm.kernel.degree": 2,
    "layers": 3,
}


def refuse(path, domain):
    raise AssertionError(f"{path} was asked for")


def test_building_asks_for_each_free_domain_in_order_and_only_for_the_chosen_option():
    asked = []

    def choose(path, domain):
        asked.append((path, domain))
        return SVM_VALUES[path]

    assert SPACE.build(choose) == SVM
    assert [path for path, _ in asked] == list(SVM_VALUES)
    assert all(domain == SPACE.domains()[path] for path, domain in asked)


def test_values_are_what_building_was_told():
    assert SPACE.values(SVM) == SVM_VALUES
    assert list(SPACE.values(SVM)) == list(SVM_VALUES)
    assert SPACE.build(lambda path, _: SPACE.values(SVM)[path]) == SVM


def test_all_free_domains_are_listed_those_of_every_option_too():
    assert list(SPACE.domains()) == [
        "lr",
        "opt.momentum",
        "model",
        "model.svm.C",
        "model.svm.kernel.degree",
        "model.forest.trees",
        "layers",
    ]
    assert len(SPACE) == 7
    assert SPACE.is_conditional
    assert not Space({"lr": Float(0, 1)}).is_conditional


def test_a_branch_within_a_branch_is_conditional_all_the_way_down():
    inner = Branch({"x": {"a": Int(1, 2)}, "y": {}}, key="kind")
    space = Space({"outer": Branch({"deep": {"inner": inner}, "flat": {}})})
    config = {"outer": {"type": "deep", "inner": {"kind": "x", "a": 2}}}
    values = {"outer": "deep", "outer.deep.inner": "x", "outer.deep.inner.x.a": 2}
    assert space.values(config) == values
    assert space.build(lambda path, _: values[path]) == config
    assert space.grid_size() == 4


def test_a_choice_that_names_no_option_is_refused():
    with pytest.raises(SpecError, match="'tree' is outside; allowed is one of 'svm', 'forest'"):
        SPACE.build(lambda path, _: {"lr": 0.5, "opt.momentum": 0.5, "model": "tree"}[path])


def test_derived_values_come_last_and_see_those_before_them():
    space = Space(
        {"first": Derived("builtins:len"), "a": 1, "in": {"second": Derived("builtins:repr")}}
    )
    config = space.build(refuse)
    assert config["first"] == 2
    assert config["in"]["second"] == repr({"a": 1, "in": {}, "first": 2})


def test_a_derived_value_that_fails_is_named():
    space = Space({"opt": {"bad": Derived("no_such_module_at_all:f")}})
    with pytest.raises(SpecError) as caught:
        space.build(refuse)
    assert caught.value.field == "opt.bad.function"


def test_constants_of_two_configurations_share_nothing():
    space = Space({"sizes": [1, 2]})
    space.build(refuse)["sizes"].append(3)
    assert space.build(refuse) == {"sizes": [1, 2]}


def without(key, **more):
    return {name: value for name, value in SVM.items() if name != key} | more


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (without("lr"), "lr: is missing"),
        (without("lr", lr=2.0), "lr: 2.0 is outside; allowed is a float from 0.0 to 1.0"),
        (
            without("layers", layers=3.0),
            "layers: 3.0 is outside; allowed is an integer from 1 to 4",
        ),
        (SVM | {"layer": 3}, "layer: the space has no such parameter; did you mean 'layers'?"),
        (
            without("opt", opt={"momentum": 0.9, "nesterov": 1}),
            "opt.nesterov: 1 is outside; allowed is the constant True",
        ),
        (without("opt", opt=3), "opt: 3 is not a mapping of names to values"),
        (
            without("model", model={"type": "tree"}),
            "model.type: 'tree' is outside; allowed is one of 'svm', 'forest'",
        ),
        (
            without("model", model="svm"),
            "model: 'svm' does not say which option it is; write a mapping such as {'type': 'svm",
        ),
        (
            without("model", model={"type": "forest", "trees": 5, "C": 1.0}),
            "model.forest.C: the space has no such parameter; known: trees",
        ),
        (without("keys", keys={1}), "keys: {1} is outside"),
        ([1], "[1] is not a mapping of names to values"),
    ],
)
def test_a_configuration_outside_is_explained_in_a_sentence(config, sentence):
    assert not SPACE.contains(config)
    assert SPACE.explain(config).startswith(sentence)


def test_a_configuration_inside_needs_no_explanation():
    assert SPACE.contains(SVM)
    assert SPACE.explain(SVM) is None


def test_completing_keeps_what_is_given_and_chooses_the_rest():
    asked = []

    def choose(path, domain):
        asked.append(path)
        return domain.from_unit(0.0)

    given = {"opt": {"momentum": 0.9}, "model": {"type": "forest"}, "layers": 2}
    assert SPACE.complete(given, choose) == {
        "lr": 0.0,
        "opt": {"momentum": 0.9, "nesterov": True},
        "model": {"type": "forest", "trees": 1},
        "layers": 2,
        "keys": ["layers", "lr", "model", "opt"],
    }
    assert asked == ["lr", "model.forest.trees"]


def test_completing_a_complete_configuration_asks_for_nothing():
    assert SPACE.complete(SVM, refuse) == SVM


def test_a_derived_value_that_is_given_stands():
    assert SPACE.complete({**SVM, "keys": "mine"}, refuse)["keys"] == "mine"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"lr": 2.0}, "lr"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"model": {"C": 1.0}}, "model"),
        ({"opt": {"nesterov": False}}, "opt.nesterov"),
    ],
)
def test_completing_what_lies_outside_is_refused(given, field):
    with pytest.raises(SpecError) as caught:
        SPACE.complete(given, refuse)
    assert caught.value.field == field


def test_the_grid_is_every_combination_with_the_last_parameter_fastest():
    space = Space({"a": Grid((1, 2)), "b": {"c": Int(0, 2, step=2)}, "name": "x"})
    assert list(space.grid()) == [
        {"a": 1, "b": {"c": 0}, "name": "x"},
        {"a": 1, "b": {"c": 2}, "name": "x"},
        {"a": 2, "b": {"c": 0}, "name": "x"},
        {"a": 2, "b": {"c": 2}, "name": "x"},
    ]


def test_the_grid_of_a_branch_runs_through_its_options():
    options = {"svm": {"C": Grid((1, 10)), "s": Categorical((True, False))}, "none": {}}
    space = Space({"model": Branch(options), "n": Int(1, 2), "d": Derived("builtins:len")})
    grid = list(space.grid())
    assert space.grid_size() == len(grid) == (2 * 2 + 1) * 2
    assert [c["model"]["type"] for c in grid] == ["svm"] * 8 + ["none"] * 2
    assert all(space.contains(config) for config in grid)
    assert len({str(config) for config in grid}) == len(grid)


def test_a_configuration_of_the_grid_can_be_had_by_its_number():
    space = Space({"a": Int(0, 10**9), "b": Int(0, 10**9)})
    assert space.grid_size() == (10**9 + 1) ** 2
    assert space.grid_at(10**9 + 1 + 7) == {"a": 1, "b": 7}
    with pytest.raises(IndexError):
        space.grid_at(space.grid_size())


def test_an_uncountable_domain_has_no_grid_and_says_what_to_do():
    space = Space({"model": Branch({"svm": {"C": Float(0, 1)}})})
    with pytest.raises(SpecError, match="step") as caught:
        space.grid()
    assert caught.value.field == "model.svm.C"


def test_a_space_of_constants_has_one_configuration_and_nothing_to_choose():
    space = Space({"a": Constant({"b": 1}), "c": [1]})
    assert len(space) == 0
    assert space
    assert list(space.grid()) == [{"a": {"b": 1}, "c": [1]}]


def test_the_representation_shows_the_fields():
    assert repr(Space({"n": Int(1, 2)})) == (
        "Space({'n': Int(low=1, high=2, log=False, step=1, q=None)})"
    )
