"""A limit on the trials that run at once: it is kept, and never stalls a study."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from tests.machine import SPACE, Machine, make_study
from tests.places import new_url, open_study, simulated
from tuneflow import rounds, stream
from tuneflow.airflow.stages import bound
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.plugins import build
from tuneflow.schedulers import ASHA, FIFO, Hyperband, MedianStopping
from tuneflow.searchers import TPE, ConcurrencyLimit, Random, Repeat
from tuneflow.searchers.base import LATER
from tuneflow.searchers.limit import new_trials
from tuneflow.store import Store
from tuneflow.study import decide
from tuneflow.trial import Report

SCHEDULERS = [
    FIFO(max_resource=3),
    ASHA(max_resource=9, reduction_factor=3),
    ASHA(max_resource=9, reduction_factor=3, variant="stopping"),
    Hyperband(max_resource=9),
    MedianStopping(max_resource=9),
]
FLAKY = {"failure_rate": 0.05, "preemption_rate": 100.0, "straggler_spread": 0.5}


def limited(most=2, searcher=None, **fields):
    return ConcurrencyLimit(searcher=searcher or Random(), most=most, **fields)


def test_a_trial_begins_when_one_has_ended():
    machine = Machine(searcher=limited(2), trials=5)
    assert machine.launched() == [(0, 1), (1, 1)]
    assert machine.launched() == []
    machine.pause(1, 0.5)
    assert machine.launched() == [(2, 1)]


def test_a_batch_begins_when_the_one_before_has_ended():
    machine = Machine(searcher=limited(2, batch=True), trials=5)
    assert machine.launched() == [(0, 1), (1, 1)]
    machine.pause(1, 0.5)
    assert machine.launched() == []
    machine.pause(0, 0.5)
    assert machine.launched() == [(2, 1), (3, 1)]


def test_a_batch_may_be_larger_than_the_slots():
    machine = Machine(searcher=limited(3, batch=True), trials=6, slots=2)
    assert machine.launched() == [(0, 1), (1, 1)]
    machine.pause(0, 0.5)
    assert machine.launched() == [(2, 1)]
    machine.pause(1, 0.5)
    assert machine.launched() == []
    machine.pause(2, 0.5)
    assert machine.launched() == [(3, 1), (4, 1)]


def test_a_trial_that_waits_for_a_retry_counts():
    machine = Machine(searcher=limited(1), trials=5)
    machine.decide()
    machine.close(0, "lost")
    (fact,) = machine.decide()
    assert (fact.trial, fact.attempt) == (0, 1)


def test_promotions_are_not_held_back():
    machine = Machine(ASHA(max_resource=9, reduction_factor=3), searcher=limited(1), trials=9)
    for number in range(3):
        assert machine.launched() == [(number, 1)]
        machine.pause(number, float(number))
    assert machine.launched() == [(0, 3)]


def test_it_proposes_what_the_other_searcher_does():
    history = History("loss", "min", seed=3)
    assert limited().suggest(SPACE, history) == Random().suggest(SPACE, history)
    assert limited().late(SPACE, history) == Random().late(SPACE, history)
    history.append(Launched(0, 0, None, params={"x": 0.5}))
    assert limited(1).suggest(SPACE, history) is LATER
    assert limited(1).late(SPACE, history) is LATER


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("most", [1, 3])
@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda scheduler: repr(scheduler)[:30])
def test_no_study_stalls(scheduler, most, batch):
    searcher = limited(most, batch=batch)
    for drive, size in ((stream.drive, None), (rounds.drive, 5), (rounds.drive, "all")):
        study = make_study(scheduler, searcher=searcher, trials=12, round_size=size)
        opened = open_study(study, Store(new_url()))
        drive(opened, simulated(workers=4, **FLAKY))
        assert opened.history.state == "finished"
        assert len(opened.history.trials) == 12


@pytest.mark.parametrize("batch", [False, True])
def test_no_more_trials_run_than_it_says(batch):
    def observe(history, facts):
        running.append(len(history.running))

    running = []
    study = make_study(FIFO(max_resource=3), searcher=limited(3, batch=batch), trials=20)
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, simulated(workers=8, **FLAKY), observe=observe)
    assert max(running) == 3


def test_a_searcher_that_waits_for_nothing_is_an_error_and_no_hang():
    @dataclass(frozen=True, kw_only=True)
    class Stuck(Random):
        def propose(self, space, history, rng):
            return LATER

    with pytest.raises(RuntimeError, match="nothing to wait for"):
        Machine(searcher=Stuck(), trials=2).decide()


def test_points_and_known_results_go_to_the_other_searcher():
    known = {"params": {"x": 0.3}, "value": 1.0}
    inner = TPE(points_to_evaluate=({"x": 0.2},))
    searcher = limited(2, inner, points_to_evaluate=({"x": 0.1},), known_results=(known,))
    assert searcher.points_to_evaluate == searcher.known_results == ()
    assert searcher.searcher.points_to_evaluate == ({"x": 0.1}, {"x": 0.2})
    assert searcher.searcher.known_results == (known,)


def test_a_study_file_says_it_in_full():
    data = {"searcher": {"type": "tpe", "n_startup_trials": 3}, "most": 4}
    searcher = build(ConcurrencyLimit, data, "searcher")
    assert searcher == limited(4, TPE(n_startup_trials=3))
    assert searcher.to_json() == {"type": "concurrency_limit", **data}
    assert searcher.ahead
    assert build(ConcurrencyLimit, {"searcher": "random", "most": 1}, "searcher") == limited(1)


@pytest.mark.parametrize("most", [0, -1, 1.5, True])
def test_a_limit_is_a_whole_number(most):
    with pytest.raises(SpecError, match=r"searcher\.most: .* is not a whole number of 1 or more"):
        limited(most)


def test_what_is_no_searcher_is_refused():
    with pytest.raises(SpecError, match=r"searcher\.searcher: 'tpe' is not a searcher"):
        limited(2, "tpe")


@pytest.mark.parametrize(("size", "rounds_of"), [(2, 9), (3, 6), (5, 4), (20, 1)])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 30])
def test_rounds_have_as_many_new_trials_as_is_foreseen(most, batch, size, rounds_of):
    searcher = limited(most, batch=batch)
    study = make_study(FIFO(max_resource=1), searcher=searcher, trials=18, round_size=size)
    history = study.history()
    count = 0
    while history.state in ("new", "running"):
        decide(study, history)
        count += bool(history.running)
        for number in list(history.running):
            history.append(Reported(number, Report(1, {"loss": 0.0})))
            history.append(Closed(number, "paused"))
    assert count <= math.ceil(18 / new_trials(searcher, size))
    assert count >= rounds_of
    assert bound(study) >= count


def test_a_limit_within_repeats_counts_configurations():
    assert new_trials(limited(3), 2) == 2
    assert new_trials(limited(3), 9) == 3
    assert new_trials(Repeat(searcher=limited(3), repeats=2), 9) == 6
    assert new_trials(limited(4, Repeat(searcher=limited(3), repeats=2)), 9) == 4
    assert new_trials(Random(), 9) == 9
