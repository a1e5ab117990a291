"""BOHB's scheduler: Hyperband with the brackets of HpBandSter."""

from __future__ import annotations

import pytest

from tests.machine import Machine
from tuneflow.errors import SpecError
from tuneflow.schedulers import BOHB, Hyperband
from tuneflow.searchers import BOHB as SEARCHER

# From hpbandster 0.7.4: `get_next_iteration` of its BOHB with eta 3 and a minimum budget of 1.
SIZES = [
    (9, [[9, 3, 1], [3, 1], [3]]),
    (27, [[27, 9, 3, 1], [9, 3, 1], [6, 2], [4]]),
    (81, [[81, 27, 9, 3, 1], [27, 9, 3, 1], [9, 3, 1], [6, 2], [5]]),
]


@pytest.mark.parametrize(("most", "sizes"), SIZES)
def test_the_brackets_are_those_of_the_reference(most, sizes):
    brackets = BOHB(max_resource=most).brackets()
    assert [[count for count, _ in rungs] for rungs in brackets] == sizes
    assert [rungs[-1][1] for rungs in brackets] == [most] * len(brackets)
    assert brackets[0][0][1] == 1


def test_no_rung_is_lost_to_floats():
    # In floats log(243) / log(3) is a little less than 5, and HpBandSter begins at 3.
    assert [rungs[0] for rungs in BOHB(max_resource=243).brackets()] == [
        (243, 1),
        (81, 3),
        (27, 9),
        (18, 27),
        (9, 81),
        (6, 243),
    ]


def test_it_decides_as_hyperband_of_these_sizes_does():
    ours = Machine(BOHB(max_resource=27), slots=5)
    other = Machine(Hyperband(max_resource=27, sizes="hpbandster"), slots=5)
    for machine in (ours, other):
        machine.run(lambda trial, level: trial * 7919 % 1009)
    assert ours.history.facts == other.history.facts
    assert len(ours.history.trials) == 27 + 9 + 6 + 4


def test_the_pair_finds_a_minimum_and_a_rebuilt_history_goes_on_as_it_would():
    machine = Machine(BOHB(max_resource=9), slots=3, searcher=SEARCHER(), trials=40)
    history = machine.history

    def curve(trial, level):
        space = machine.study.space
        fresh = SEARCHER().suggest(space, machine.rebuilt(), 1)
        assert machine.study.searcher.suggest(space, history, 1) == fresh
        return abs(history.trials[trial].params["x"] - 0.3) + 1 / level

    machine.run(curve)
    assert abs(history.best().params["x"] - 0.3) < 0.05


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("max_resource", {"max_resource": 0}),
        ("min_resource", {"max_resource": 9, "min_resource": 10}),
        ("reduction_factor", {"max_resource": 9, "reduction_factor": 1}),
    ],
)
def test_what_makes_no_sense_is_refused(field, given):
    with pytest.raises(SpecError, match=f"scheduler.{field}"):
        BOHB(**given)
