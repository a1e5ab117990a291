"""Plugins that hold other plugins: what their fields take, and how errors name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from tuneflow.errors import SpecError
from tuneflow.plugins import build
from tuneflow.schedulers import ASHA, FIFO, Scheduler
from tuneflow.searchers import Random
from tuneflow.searchers.base import Searcher


@dataclass(frozen=True)
class Wrapping(Scheduler):
    type: ClassVar[str] = "wrapping"

    base: Scheduler
    searcher: Searcher = Random()  # noqa: RUF009 - a frozen value
    share: float = 1.0

    def next(self, history):
        return self.base.next(history)


def wrapping(**fields):
    return build(Wrapping, fields, "scheduler")


def problem(**fields):
    with pytest.raises(SpecError) as caught:
        wrapping(**fields)
    return str(caught.value)


class TestAFieldThatHoldsAPlugin:
    def test_takes_an_instance(self):
        assert wrapping(base=FIFO(max_resource=3)).base == FIFO(max_resource=3)

    def test_takes_a_type_name(self):
        assert wrapping(base="fifo", searcher="random") == Wrapping(FIFO(), Random())

    def test_takes_a_mapping(self):
        made = wrapping(base={"type": "asha", "max_resource": 9}, share=2)
        assert made == Wrapping(ASHA(max_resource=9), share=2)

    def test_is_written_as_its_json_form(self):
        made = Wrapping(ASHA(max_resource=9), Random(points_to_evaluate=({"x": 1},)))
        data = made.to_json()
        assert data == {
            "type": "wrapping",
            "base": {"type": "asha", "max_resource": 9},
            "searcher": {"type": "random", "points_to_evaluate": [{"x": 1}]},
        }
        assert wrapping(base=data["base"], searcher=data["searcher"]) == made


class TestErrorsNameTheWholePath:
    def test_of_an_unknown_key(self):
        wrong = problem(base={"type": "asha", "max_resource": 9, "etta": 3})
        assert wrong.startswith("scheduler.base.etta: unknown key")

    def test_of_a_value_that_the_plugin_refuses(self):
        wrong = problem(base={"type": "asha", "max_resource": -1})
        assert wrong.startswith("scheduler.base.max_resource: ")

    def test_of_an_unknown_type(self):
        wrong = problem(base="ahsa")
        assert wrong.startswith("scheduler.base.type: there is no scheduler 'ahsa'; did you mean")

    def test_of_something_else(self):
        assert problem(base=3).startswith("scheduler.base: 3 does not say which scheduler")
        assert problem(base=Random()).startswith("scheduler.base: Random(")

    def test_of_a_missing_one(self):
        assert problem() == "scheduler.base: is needed and missing"

    def test_of_a_searcher_in_a_scheduler(self):
        wrong = problem(base=FIFO(), searcher="no-such")
        assert wrong.startswith("scheduler.searcher.type: there is no searcher 'no-such'")
