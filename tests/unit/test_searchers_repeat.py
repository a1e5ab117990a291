"""Each configuration with several seeds: what is tried, and what the searcher learns from it."""

from __future__ import annotations

import math

import pytest

from tests.machine import NAN, Machine, make_study
from tests.places import new_url, open_study, simulated
from tuneflow import rounds, stream
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Exhausted, Finished, Launched, Opened, Stopped
from tuneflow.plugins import build
from tuneflow.result import Result
from tuneflow.schedulers import ASHA, FIFO, Hyperband, MedianStopping
from tuneflow.searchers import TPE, ConcurrencyLimit, Grid, Random, Repeat
from tuneflow.space import Categorical, Float, Int, Space
from tuneflow.store import Store
from tuneflow.trial import TrialState

SPACE = Space({"x": Float(0, 1), "seed": Int(10, 19)})


def repeated(repeats=3, searcher=None, **fields):
    return Repeat(searcher=searcher or Random(), repeats=repeats, **fields)


class Repeating(Machine):
    """A study whose configurations are repeated, and its groups."""

    def __init__(self, scheduler=None, searcher=None, **changes):
        changes = {"trials": 30, **changes}
        searcher = searcher or repeated()
        super().__init__(scheduler, space=SPACE, searcher=searcher, **changes)

    @property
    def groups(self):
        return self.study.searcher.groups(self.study.space, self.history).history

    def group(self, number=0):
        trial = self.groups.trials[number]
        return trial.state.value, [(r.resource, r.metrics["loss"]) for r in trial.reports]


def test_a_configuration_is_tried_with_each_seed_in_turn():
    machine = Repeating(slots=7)
    params = [fact.params for fact in machine.decide()]
    assert [config["seed"] for config in params] == [10, 11, 12, 10, 11, 12, 10]
    assert [params.index({**config, "seed": 10}) for config in params] == [0, 0, 0, 3, 3, 3, 6]


def test_the_seeds_may_be_a_list():
    space = Space({"x": Float(0, 1), "start": Categorical((7, 1, 5))})
    searcher = repeated(2, seed_name="start")
    machine = Machine(space=space, searcher=searcher, trials=2)
    machine.decide()
    assert [trial.params["start"] for trial in machine.history.trials] == [7, 1]


def test_a_group_is_pending_until_all_its_trials_have_ended():
    machine = Repeating(slots=3)
    machine.decide()
    for number, value in enumerate([1.0, 2.0]):
        machine.pause(number, value)
        assert machine.group() == ("running", [])
    machine.pause(2, 6.0)
    assert machine.group() == ("completed", [(1, 3.0)])
    assert "seed" not in machine.groups.trials[0].params


def test_a_group_is_pending_while_some_of_its_trials_are_still_to_come():
    machine = Repeating(slots=1)
    machine.decide()
    machine.pause(0, 1.0)
    assert machine.group() == ("running", [])


@pytest.mark.parametrize(("aggregate", "value"), [("mean", 3.0), ("median", 2.0)])
def test_its_value_is_the_mean_or_the_median(aggregate, value):
    machine = Repeating(slots=3, searcher=repeated(aggregate=aggregate))
    machine.decide()
    for number, reported in enumerate([1.0, 2.0, 6.0]):
        machine.pause(number, reported)
    assert machine.group() == ("completed", [(1, value)])


def test_failed_trials_are_left_out():
    machine = Repeating(slots=3)
    machine.decide()
    machine.close(0, "failed")
    machine.pause(1, 2.0)
    machine.pause(2, 3.0)
    assert machine.group() == ("completed", [(1, 2.5)])


def test_a_group_of_failed_trials_has_failed():
    machine = Repeating(slots=3)
    machine.decide()
    for number in range(3):
        machine.close(number, "failed")
    assert machine.group() == ("failed", [])


def test_a_trial_that_is_tried_again_keeps_its_group_pending():
    machine = Repeating(slots=3)
    machine.decide()
    machine.close(0, "lost")
    machine.pause(1, 2.0)
    machine.pause(2, 4.0)
    assert machine.group() == ("running", [])
    machine.decide()
    machine.pause(0, 3.0)
    assert machine.group() == ("completed", [(1, 3.0)])


def test_final_values_count_whatever_their_level():
    machine = Repeating(FIFO(max_resource=9), slots=3)
    machine.decide()
    for number, level in enumerate([2, 3, 4]):
        for step in range(1, level + 1):
            machine.report(number, step, float(step))
        machine.close(number, "completed")
    assert machine.group() == ("completed", [(1, 1.0), (2, 2.0), (4, 3.0)])


def test_a_value_that_is_not_usable_is_left_out():
    machine = Repeating(FIFO(max_resource=2), slots=3)
    machine.decide()
    for number, values in enumerate([(1.0, NAN), (3.0, 5.0), (NAN, 9.0)]):
        for level, value in enumerate(values, start=1):
            machine.report(number, level, value)
        machine.close(number, "paused")
    assert machine.group() == ("completed", [(1, 2.0), (2, 5.0)])


def test_trials_that_are_paused_at_different_levels_share_what_they_have_in_common():
    machine = Repeating(ASHA(max_resource=9, reduction_factor=3), slots=3)
    machine.decide()
    for number in range(3):
        machine.pause(number, float(number))
    assert machine.group() == ("paused", [(1, 1.0)])
    machine.decide()  # trial 0 is promoted to level 3
    assert machine.history.running.keys() >= {0}
    assert machine.group() == ("running", [(1, 1.0)])
    machine.pause(0, -1.0)
    assert machine.group() == ("paused", [(1, 1.0)])


def test_a_trial_that_is_stopped_leaves_its_group_what_it_had():
    machine = Repeating(FIFO(max_resource=9), slots=3)
    machine.decide()
    for number, levels in enumerate([2, 9, 9]):
        for level in range(1, levels + 1):
            machine.report(number, level, float(level * (number + 1)))
        if number == 0:
            machine.history.append(Stopped(0, "it is behind"))
        machine.close(number, "paused")
    assert machine.group() == ("stopped", [(1, 2.0), (2, 4.0)])


def test_a_group_is_over_when_its_paused_trials_are_stopped():
    machine = Repeating(FIFO(max_resource=9), slots=3)
    machine.decide()
    for number in range(3):
        machine.report(number, 1, 1.0)
        machine.close(number, "paused")
    assert machine.group() == ("paused", [(1, 1.0)])
    for number in range(3):
        machine.history.append(Stopped(number, "it is behind"))
    assert machine.group() == ("stopped", [(1, 1.0)])


def test_the_last_group_ends_with_the_trials_that_it_has():
    machine = Repeating(trials=4, slots=4)
    machine.decide()
    for number in range(4):
        machine.pause(number, float(number))
    assert machine.group(1) == ("running", [])
    machine.decide()
    assert isinstance(machine.history.facts[-1], Finished)
    assert machine.group(1) == ("completed", [(1, 3.0)])
    assert machine.groups.finished is not None


def test_failed_trials_that_are_tried_again_bring_a_failed_group_back():
    machine = Repeating(trials=3, slots=3)
    machine.decide()
    for number in range(3):
        machine.close(number, "failed")
    machine.decide()
    machine.history.append(Opened(1, retry_failed=True))
    machine.decide()
    assert machine.group() == ("running", [])
    for number in range(3):
        machine.pause(number, 2.0)
    assert machine.group() == ("completed", [(1, 2.0)])


def test_the_other_searcher_learns_from_whole_groups():
    machine = Repeating(slots=1, searcher=repeated(searcher=TPE(n_startup_trials=2)))
    plain = Machine(space=Space({"x": Float(0, 1)}), searcher=TPE(n_startup_trials=2), trials=9)
    plain.slots = 1
    for number in range(15):
        machine.decide()
        config = machine.history.trials[number].params
        machine.pause(number, config["x"] + (config["seed"] - 11) / 2)
        if number % 3 == 0:
            plain.decide()
            assert plain.history.trials[-1].params == {"x": config["x"]}
            plain.pause(number // 3, config["x"])


def test_given_points_and_repeats_need_no_thought():
    searcher = repeated(searcher=TPE(points_to_evaluate=({"x": 0.5},)))
    assert [searcher.is_given(number) for number in range(7)] == 3 * [True] + [False] + 2 * [
        True
    ] + [False]


def test_a_late_draw_begins_a_group():
    machine = Repeating(slots=3)
    drawn = machine.study.searcher.late(SPACE, machine.history)
    assert drawn["seed"] == 10
    machine.history.append(Launched(0, 0, 1, params=drawn, late=True))
    assert [f.params for f in machine.decide()] == [{**drawn, "seed": s} for s in (11, 12)]
    assert machine.groups.late == 1


def test_the_grid_ends_after_all_its_repeats():
    space = Space({"x": Int(1, 2), "seed": Int(0, 9)})
    machine = Machine(space=space, searcher=repeated(searcher=Grid()), slots=9)
    facts = machine.decide()
    tried = [(f.params["x"], f.params["seed"]) for f in facts if isinstance(f, Launched)]
    assert tried == [(x, seed) for x in (1, 2) for seed in (0, 1, 2)]
    assert any(isinstance(fact, Exhausted) for fact in facts)


@pytest.mark.parametrize(
    "scheduler",
    [
        FIFO(max_resource=3),
        ASHA(max_resource=9, reduction_factor=3),
        ASHA(max_resource=9, reduction_factor=3, variant="stopping"),
        Hyperband(max_resource=9),
        MedianStopping(max_resource=9),
    ],
    ids=lambda scheduler: repr(scheduler)[:30],
)
@pytest.mark.parametrize("drive", [stream.drive, rounds.drive])
def test_it_goes_with_schedulers_that_end_trials_early(scheduler, drive):
    size = 4 if drive is rounds.drive else None
    inner = ConcurrencyLimit(searcher=TPE(n_startup_trials=2), most=2)
    study = make_study(
        scheduler, space=SPACE, searcher=repeated(2, inner), trials=13, round_size=size
    )
    opened = open_study(study, Store(new_url()))
    flaky = {"failure_rate": 0.05, "preemption_rate": 100.0, "straggler_spread": 0.5}
    drive(opened, simulated(workers=4, **flaky))
    assert opened.history.state == "finished"
    groups = study.searcher.groups(study.space, opened.history).history
    assert len(groups.trials) == 7
    assert groups.state == "finished"
    ended = {trial.number: group_values(opened.history, trial) for trial in groups.trials}
    for number, value in ended.items():
        members = opened.history.trials[2 * number :][:2]
        values = [opened.history.trial_loss(trial) for trial in members]
        if all(trial.state is TrialState.COMPLETED for trial in members):
            assert value == pytest.approx(sum(values) / len(values))
    assert sum(isinstance(fact, Closed) for fact in groups.facts) >= 7


def group_values(history, trial):
    return trial.reports[-1].metrics["loss"] if trial.reports else math.inf


def test_a_space_without_a_seed_is_refused():
    with pytest.raises(SpecError, match=r"searcher\.seed_name: the space has no parameter 'seed'"):
        make_study(searcher=repeated(), trials=3)


@pytest.mark.parametrize("seed", [5, {"inner": Int(0, 9)}])
def test_a_seed_that_cannot_be_set_is_refused(seed):
    with pytest.raises(SpecError, match=r"no parameter 'seed' to be set"):
        make_study(space=Space({"x": Float(0, 1), "seed": seed}), searcher=repeated(), trials=3)


@pytest.mark.parametrize("seed", [Int(0, 1), Float(0, 1)])
def test_there_are_as_many_seeds_as_repeats(seed):
    with pytest.raises(SpecError, match=r"searcher\.repeats: 'seed' is .*, and 3 are needed"):
        make_study(space=Space({"x": Float(0, 1), "seed": seed}), searcher=repeated(), trials=3)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [({"repeats": 0}, "whole number"), ({"aggregate": "max"}, "neither 'mean' nor 'median'")],
)
def test_wrong_fields_are_refused(fields, problem):
    with pytest.raises(SpecError, match=problem):
        repeated(**fields)


def test_a_study_file_says_it_in_full():
    data = {"searcher": {"type": "grid"}, "repeats": 5, "aggregate": "median"}
    searcher = build(Repeat, data, "searcher")
    assert searcher == repeated(5, Grid(), aggregate="median")
    assert searcher.to_json() == {"type": "repeat", **data}


def test_a_result_shows_the_groups():
    searcher = ConcurrencyLimit(searcher=repeated(2), most=2)
    study = make_study(space=SPACE, searcher=searcher, trials=6)
    opened = open_study(study, Store(new_url()))
    stream.drive(opened, simulated(lambda config, level: abs(config["seed"] - 10)))
    result = Result(opened)
    assert [row["group"] for row in result.rows()] == [0, 0, 1, 1, 2, 2]
    assert [trial.latest("loss") for trial in result.groups.trials] == [0.5, 0.5, 0.5]
    assert result.groups.best().params.keys() == {"x"}
    plain = open_study(make_study(trials=2), Store(new_url()))
    assert Result(plain).groups is None
