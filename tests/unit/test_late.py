"""A searcher that is too slow for its trials: its user is told."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console

from tests.machine import make_study
from tuneflow.events import Closed, Launched, Reported
from tuneflow.trial import Report
from tuneflow.views import text
from tuneflow.views.html import render
from tuneflow.views.terminal import LiveView, status_table, summary


def played(count, late):
    """A study of so many trials, the last ones of which were drawn late."""
    study = make_study(trials=count)
    history = study.history()
    for number in range(count):
        is_late = number >= count - late
        history.append(Launched(number, 0, 1, params={"x": 0.5}, late=is_late))
        history.append(Reported(number, Report(1, {"loss": float(number)})))
        history.append(Closed(number, "paused"))
    return study, history


@pytest.mark.parametrize(
    ("count", "late", "said"),
    [
        (3, 0, None),
        (1, 1, "1 of 1 configuration was drawn at random because the searcher was late"),
        (
            1200,
            12,
            "12 of 1,200 configurations were drawn at random because the searcher was late",
        ),
    ],
)
def test_it_is_said_in_a_sentence(count, late, said):
    assert text.late(played(count, late)[1]) == said


def shown(renderable):
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_the_status_the_summary_and_the_report_say_it():
    said = "2 of 3 configurations were drawn at random because the searcher was late"
    study, history = played(3, 2)
    assert said in shown(status_table(study, history))
    assert said in shown(summary(study, history, "memory://here"))
    assert said in render(study, history, "memory://here")
    study, history = played(3, 0)
    assert "at random" not in shown(status_table(study, history))
    assert "at random" not in shown(summary(study, history, "memory://here"))
    assert "at random because" not in render(study, history, "memory://here")


def test_the_lines_of_a_log_say_it():
    study, history = played(40, 40)
    clock = itertools.count()
    console = Console(file=io.StringIO(), width=200)
    view = LiveView(study, "memory://here", console, lambda: next(clock) / 10)
    replayed = study.history()
    for fact in history.facts:
        replayed.append(fact)
        view(replayed, [fact])
    assert "drawn at random: the searcher is late" in console.file.getvalue()
