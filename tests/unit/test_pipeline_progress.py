"""The line that says in a task's log how far a study has come."""

from __future__ import annotations

import pytest

from tuneflow.pipeline.progress import line
from tuneflow.recording import record_outcome
from tuneflow.spec import study_from_json
from tuneflow.study import decide
from tuneflow.trial import Failure, Outcome, Report

SPEC = {
    "name": "study",
    "objective": {"callable": "train"},
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "metric": "accuracy",
    "mode": "max",
    "searcher": "random",
    "scheduler": {"type": "asha", "max_resource": 9, "reduction_factor": 3},
    "trials": 4,
}


def after(outcomes, slots=4, **more):
    """Return the line for a study with so many running trials, after some outcomes."""
    study = study_from_json({**SPEC, **more})
    history = study.history()
    decide(study, history, slots)
    for outcome in outcomes:
        record_outcome(study, history, outcome)
    return line(study, history)


def ended(trial, value):
    return Outcome(trial, 0, "completed", (Report(9, {"accuracy": value}),))


def failed(trial):
    return Outcome(trial, 0, "failed", failure=Failure("ValueError", "no"))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], "0 of 4 trials done, 4 running"),
        ([ended(1, 0.5)], "1 of 4 trials done, 3 running, best accuracy 0.5 (trial 1)"),
        (
            [ended(1, 0.5), failed(0)],
            "2 of 4 trials done, 2 running, 1 failed, best accuracy 0.5 (trial 1)",
        ),
    ],
)
def test_it_counts_the_trials_and_names_the_best(outcomes, expected):
    assert after(outcomes) == expected


def test_a_study_without_a_number_of_trials_says_how_many_are_done():
    more = {"trials": None, "budget": {"total_resource": 100}}
    assert after([ended(0, 0.25)], **more).startswith("1 trial done, 3 running, ")


def test_a_metric_to_be_made_small_keeps_its_sign():
    assert after([ended(0, 0.25)], mode="min").endswith("best accuracy 0.25 (trial 0)")
