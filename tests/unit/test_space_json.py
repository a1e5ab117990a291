"""Spaces from JSON and back, and what is refused there."""

from __future__ import annotations

import json
import pickle

import pytest
import yaml

from tuneflow.errors import SpecError
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

EVERYTHING = {
    "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "drop": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
    "opt": {
        "momentum": {"type": "float", "low": 0.0, "high": 1.0, "q": 0.1},
        "nesterov": True,
    },
    "layers": {"type": "int", "low": 1, "high": 8, "step": 2},
    "act": {"type": "categorical", "choices": ["relu", None, [1, 2]]},
    "seed": {"type": "grid", "values": [1, 2]},
    "noise": {"type": "normal", "mean": 0.0, "sd": 2.0, "q": 0.5},
    "model": {
        "type": "branch",
        "options": {
            "svm": {"C": {"type": "float", "low": 0.1, "high": 10.0}},
            "none": {},
        },
        "key": "kind",
    },
    "count": {"type": "derived", "function": "builtins:len"},
    "name": "digits",
    "sizes": [32, 64],
    "nothing": None,
    "table": {"type": "constant", "value": {"a": 1}},
    "inner": {"type": {"type": "constant", "value": "odd"}},
}


def test_the_json_form_of_every_domain_is_read_and_written_back():
    space = Space.from_json(json.loads(json.dumps(EVERYTHING)))
    assert space.to_json() == EVERYTHING
    assert list(space.to_json()) == list(EVERYTHING)
    assert Space.from_json(space.to_json()) == space


def test_json_and_python_describe_the_same_space():
    python = Space(
        {
            "lr": Float(1e-4, 0.1, log=True),
            "drop": Float(0, 0.5, step=0.1),
            "opt": {"momentum": Float(0, 1, q=0.1), "nesterov": True},
            "layers": Int(1, 8, step=2),
            "act": Categorical(("relu", None, (1, 2))),
            "seed": Grid((1, 2)),
            "noise": Normal(0, 2, q=0.5),
            "model": Branch({"svm": {"C": Float(0.1, 10)}, "none": Space({})}, key="kind"),
            "count": Derived("builtins:len"),
            "name": "digits",
            "sizes": (32, 64),
            "nothing": None,
            "table": Constant({"a": 1}),
            "inner": {"type": Constant("odd")},
        }
    )
    assert python == Space.from_json(EVERYTHING)
    assert hash(python) == hash(Space.from_json(EVERYTHING))


def test_a_space_survives_pickling():
    space = Space.from_json(EVERYTHING)
    space.domains()["act"].to_unit("relu")
    copy = pickle.loads(pickle.dumps(space))
    assert copy == space
    assert copy.domains()["act"].from_unit(0.0) == "relu"


def test_spaces_in_another_order_differ():
    assert Space({"a": Int(0, 1), "b": Int(0, 1)}) != Space({"b": Int(0, 1), "a": Int(0, 1)})


def test_scientific_notation_that_yaml_reads_as_text_is_a_number():
    text = "{lr: {type: float, low: 1e-4, high: 1E-1}, n: {type: int, low: 1, high: 1e3}}"
    data = yaml.safe_load(text)
    assert data["lr"]["low"] == "1e-4"
    assert Space.from_json(data) == Space({"lr": Float(1e-4, 0.1), "n": Int(1, 1000)})


@pytest.mark.parametrize("text", ["0.1", "ten", "1e", "1e-4 ", "nan", "1_0e2"])
def test_other_text_is_no_number(text):
    with pytest.raises(SpecError) as caught:
        Space.from_json({"lr": {"type": "float", "low": text, "high": 1e9}})
    assert caught.value.field == "lr.low"


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"lr": {"type": "flaot", "low": 0, "high": 1}}, "lr.type", "did you mean 'float'"),
        ({"lr": {"type": "svm"}}, "lr.type", "type: constant, value: svm"),
        ({"lr": {"type": "float", "lo": 0, "high": 1}}, "lr.lo", "did you mean 'low'"),
        ({"lr": {"type": "float", "high": 1}}, "lr.low", "is missing"),
        ({"a": {"b": {"type": "int", "low": 3, "high": 1}}}, "a.b.low", "above high"),
        ({"a": {"type": "categorical", "choices": []}}, "a.choices", "empty"),
        ({"a": {"type": "branch", "options": {}}}, "a.options", "at least one"),
        ({"a": {"type": "branch", "options": {"x": 3}}}, "a.options.x", "not a mapping"),
        (
            {"a": {"type": "branch", "options": {"x": {"C": {"type": "int", "low": 1}}}}},
            "a.options.x.C.high",
            "is missing",
        ),
        (
            {"a": {"type": "branch", "key": "k", "options": {"x": {"k": 1}}}},
            "a.options.x.k",
            "taken",
        ),
        ({"type": "float", "low": 0, "high": 1}, "", "under a name"),
        ({"a": {"": 1}}, "a", "empty"),
        ({True: 1}, "", "quotes"),
        ({"a": lambda: 1}, "a", "sample_from"),
        ({"a": {1, 2}}, "a", "neither a domain"),
        ({"a": float("nan")}, "a", "nan"),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", "rename"),
        ([1], "", "not a mapping"),
    ],
)
def test_a_bad_field_is_named_with_what_to_do(fields, field, words):
    with pytest.raises(SpecError, match=words) as caught:
        Space(fields)
    assert caught.value.field == field


def test_a_branch_and_a_dotted_name_may_not_share_a_path():
    branch = Branch({"svm": {"C": Int(1, 2)}})
    with pytest.raises(SpecError, match=r"model\.svm\.C"):
        Space({"model": branch, "model.svm.C": Int(1, 2)})


def test_a_dotted_name_alone_is_a_name():
    assert list(Space({"model.lr": Float(0, 1)}).domains()) == ["model.lr"]
