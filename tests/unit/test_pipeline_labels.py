"""What mapped tasks are called: short, plain and on one line."""

from __future__ import annotations

import math

import pytest
from airflow.sdk.definitions._internal.templater import SandboxedEnvironment

from tuneflow.pipeline.labels import (
    finished_label,
    parameters,
    segment_label,
    trial_label,
    trials_label,
)
from tuneflow.trial import Segment

COLUMN = 250
"""Characters that Airflow's database keeps of a label."""

WILD = {
    "a" * 300: "b" * 300,
    "evil\n\x1b[31m\u202e": "{{ 1 / 0 }}",
    **{f"p{number}": 1 / 3 for number in range(100)},
}


def test_a_trial_is_called_by_its_number_and_its_configuration():
    assert trial_label(17, {"lr": 0.003, "width": 64}) == "trial 17 · lr 0.003 · width 64"


def test_a_trial_without_parameters_is_called_by_its_number():
    assert trial_label(0, {}) == "trial 0"


@pytest.mark.parametrize(
    ("segment", "note", "label"),
    [
        (Segment(7, 1, {"lr": 0.003}, 3, 9), "promoted", "trial 7 · to 9 · lr 0.003 · promoted"),
        (Segment(7, 0, {"lr": 0.003}, until=0.5), "", "trial 7 · to 0.5 · lr 0.003"),
        (Segment(0, 0, {}), "", "trial 0"),
    ],
)
def test_a_segment_is_called_by_how_far_it_goes_and_how_it_came_to_be(segment, note, label):
    assert segment_label(segment, note) == label


def test_what_a_segment_is_called_is_short_and_on_one_line():
    label = segment_label(Segment(123456, 3, WILD, 1, 81), "cloned from trial 123455")
    assert len(label) < COLUMN
    assert label.isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0029999, "0.003"),
        (1234567.0, "1.23e+06"),
        (1e-10, "1e-10"),
        (1234567, "1234567"),
        (True, "True"),
        (None, "None"),
        ("adam", "adam"),
        ([1, 2], "[1, 2]"),
        (math.nan, "nan"),
    ],
)
def test_floats_have_three_digits_and_all_else_is_as_it_is(value, text):
    assert parameters({"p": value}) == f"p {text}"


def test_nested_parameters_have_dotted_names():
    params = {"optimizer": {"name": "sgd", "decay": {"rate": 0.125}}, "depth": 2}
    assert parameters(params) == "optimizer.name sgd · optimizer.decay.rate 0.125 · depth 2"


def test_a_long_configuration_is_cut_and_says_so():
    text = parameters(WILD)
    assert len(text) == 80
    assert text.endswith("…")


def test_nothing_in_a_label_can_act_on_a_terminal_or_break_a_line():
    text = trial_label(1, {"a\nb": "c\x1b[31m\r\t\u202e\x00d"})
    assert text.isprintable()
    assert text == "trial 1 · a b c [31m    d"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([17, 18, 19, 20], "trials 17-20"),
        ([18, 17], "trials 17-18"),
        ([3, 9, 40], "3 trials 3…40"),
    ],
)
def test_several_trials_are_called_by_the_first_and_the_last(numbers, text):
    assert trials_label(numbers) == text


def test_a_finished_trial_says_its_value_and_how_it_came_to_be():
    label = trial_label(17, {"lr": 0.003})
    found = finished_label(label, "accuracy", 0.94123, "promoted")
    assert found == "trial 17 · lr 0.003 · accuracy 0.941 · promoted"


def test_a_trial_without_a_value_or_a_note_has_neither():
    assert finished_label("trial 3", "accuracy", None, "", "failed") == "trial 3 · failed"
    assert finished_label("trial 3", "accuracy", 1, "") == "trial 3 · accuracy 1"


def test_a_metric_of_any_name_leaves_room_in_airflows_column():
    label = finished_label(
        trial_label(10**9, WILD), "m" * 1000 + "\n", -1.23456e-100, "cloned from trial 999999999"
    )
    assert len(label) <= COLUMN
    assert label.endswith(" -1.23e-100 · cloned from trial 999999999")
    assert label.isprintable()


def test_a_template_in_a_value_stays_text():
    label = trial_label(1, {"p": "{{ 1 / 0 }}"})
    shown = SandboxedEnvironment().from_string("{{ label }}").render(label=label)
    assert shown == "trial 1 · p {{ 1 / 0 }}"
