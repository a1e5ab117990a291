"""What counts of past studies, and what a searcher is told of them."""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics

import optuna
import pytest

from tests.example_studies import make_study, play
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.retune.diverse import coordinates, distance, good_and_diverse
from tuneflow.retune.prior import Observation, Past, observations, warm_start
from tuneflow.schedulers import FIFO, Hyperband
from tuneflow.searchers import TPE
from tuneflow.searchers.base import sampled
from tuneflow.searchers.optuna_axes import Axes
from tuneflow.searchers.optuna_view import HistoryView
from tuneflow.space import Branch, Categorical, Float, Int, Space
from tuneflow.trial import Report

LINE = Space({"x": Float(0, 1)})
PLANE = Space({"x": Float(0, 1), "y": Float(0, 1)})
MIXED = Space(
    {
        "lr": Float(1e-4, 1, log=True),
        "act": Categorical(("relu", "gelu")),
        "model": Branch({"svm": {"C": Float(0, 10)}, "forest": {"trees": Int(1, 100)}}),
    }
)


def studied(*curves, space=LINE, **changes):
    """Return a study whose trials have reported these values at levels 1, 2, 3 …

    A curve is a list of values, and perhaps the status that its trial closed with.
    """
    study = make_study(space=space, scheduler=FIFO(max_resource=9), **changes)
    history = study.history()
    for number, curve in enumerate(curves):
        values, status = curve if isinstance(curve, tuple) else (curve, "paused")
        params = space.build(lambda *_, number=number: number / 16)
        history.append(Launched(number, 0, 9, params=params))
        for level, value in enumerate(values, start=1):
            history.append(Reported(number, Report(level, {"accuracy": value})))
        history.append(Closed(number, status))
    return study, history


def known(study, history, **options):
    return [(o.config["x"] * 16, o.value) for o in observations(study, history, **options)]


def results(values, space=LINE, seed=0):
    """Return an observation at random for each value."""
    choose = sampled(random.Random(seed))
    return [Observation(space.build(choose), value, 1) for value in values]


def warm(past, space=LINE, **options):
    return warm_start(past, space, **{"mode": "min", **options})


class TestObservations:
    def test_they_are_from_the_highest_level_with_one_more_trial_than_parameters(self):
        study, history = studied([0.1, 0.2, 0.3], [0.4], [0.5, 0.6], space=LINE)
        assert known(study, history) == [(0, 0.2), (2, 0.6)]
        assert {seen.resource for seen in observations(study, history)} == {2}

    def test_more_parameters_need_a_lower_level(self):
        study, history = studied([0.1, 0.2, 0.3], [0.4], [0.5, 0.6], space=PLANE)
        assert known(study, history) == [(0, 0.1), (1, 0.4), (2, 0.5)]

    def test_where_no_level_has_enough_the_one_with_most_trials_is_taken(self):
        cube = Space({**PLANE.nodes, "z": Float(0, 1)})
        study, history = studied([0.1, 0.2], [0.3, 0.4], [0.5], space=cube)
        assert [seen.value for seen in observations(study, history)] == [0.1, 0.3, 0.5]
        study, history = studied([0.1, 0.2], [0.3, 0.4], space=cube)
        assert [seen.value for seen in observations(study, history)] == [0.2, 0.4]

    def test_failed_trials_and_unusable_values_do_not_count(self):
        study, history = studied(
            [0.1, math.nan], ([0.2, 0.3], "failed"), [math.inf], [0.5, 0.6], [0.7, 0.8], []
        )
        assert known(study, history) == [(3, 0.6), (4, 0.8)]

    def test_a_trial_that_ended_by_itself_counts_at_every_level_above(self):
        study, history = studied(([0.1, 0.2], "completed"), [0.3, 0.4, 0.5], [0.6])
        assert known(study, history) == [(0, 0.2), (1, 0.5)]

    def test_of_a_clone_only_its_newest_parameters_count(self):
        study, history = studied([0.1, 0.2], [0.3, 0.4])
        history.append(Launched(0, 1, 9, start=2, params={"x": 0.75}, source=1))
        assert known(study, history) == [(1, 0.4)]
        history.append(Reported(0, Report(3, {"accuracy": 0.9})))
        assert known(study, history) == [(12, 0.9)]
        history.append(Closed(0, "completed"))
        history.append(Launched(1, 1, 9, start=2))
        history.append(Reported(1, Report(3, {"accuracy": 0.8})))
        assert known(study, history) == [(12, 0.9), (1, 0.8)]

    def test_a_seed_is_left_out_and_is_no_parameter(self):
        space = Space({"x": Float(0, 1), "seed": Float(0, 1)})
        study, history = studied([0.1, 0.2, 0.3], [0.5, 0.6], [0.9], space=space)
        assert {o.value for o in observations(study, history)} == {0.1, 0.5, 0.9}
        found = observations(study, history, "seed")
        assert [(seen.config, seen.value) for seen in found] == [
            ({"x": 0.0}, 0.2),
            ({"x": 1 / 16}, 0.6),
        ]

    def test_a_study_without_a_usable_value_has_none(self):
        assert known(*studied()) == []
        assert known(*studied([math.nan], [])) == []

    def test_all_are_from_one_level_whatever_the_scheduler_gave_to_whom(self):
        played = play(make_study(scheduler=Hyperband(max_resource=27)))
        found = observations(played.study, played.history)
        [level] = {seen.resource for seen in found}
        assert 1 < level < 27
        assert len(found) >= 5
        assert all(played.study.space.contains(seen.config) for seen in found)


class TestPoints:
    def test_the_champion_comes_first_and_only_once(self):
        past = [Past(LINE, [Observation({"x": 0.5}, 0.0, 1), Observation({"x": 0.2}, 1.0, 1)])]
        found = warm(past, champion={"x": 0.5})
        assert found.points_to_evaluate == ({"x": 0.5}, {"x": 0.2})
        assert "tried first: 1, after the champion's" in found.notes[0]

    def test_half_are_the_best_and_none_is_of_the_worse_half(self):
        seen = results(range(40), PLANE)
        points = warm([Past(PLANE, seen)], PLANE, points=8).points_to_evaluate
        assert list(points[:4]) == [one.config for one in seen[:4]]
        assert len(points) == 8
        assert all(point in [one.config for one in seen[4:20]] for point in points[4:])

    def test_the_other_half_lies_far_apart(self):
        near = [Observation({"x": 0.5 + n / 1000}, n, 1) for n in range(20)]
        far = [Observation({"x": x}, 20 + x, 1) for x in (0.0, 1.0)]
        worse = [Observation({"x": 0.25 + n / 100}, 50, 1) for n in range(22)]
        points = warm([Past(LINE, [*near, *far, *worse])], points=6).points_to_evaluate
        assert {0.0, 1.0} <= {point["x"] for point in points[3:5]}

    @pytest.mark.parametrize(("mode", "best"), [("min", 0.2), ("max", 0.9)])
    def test_the_best_are_those_of_the_mode(self, mode, best):
        seen = [Observation({"x": x}, x, 1) for x in (0.5, 0.2, 0.9)]
        assert warm([Past(LINE, seen)], mode=mode).points_to_evaluate[0] == {"x": best}

    def test_values_are_compared_after_their_shift(self):
        lucky = Past(LINE, [Observation({"x": 0.1}, 1.0, 1)], shift=5.0, age=1)
        today = Past(LINE, [Observation({"x": 0.9}, 2.0, 1)])
        assert warm([lucky, today], points=1).points_to_evaluate == ({"x": 0.9},)

    def test_a_configuration_that_was_seen_twice_is_worth_its_mean(self):
        seen = [Observation({"x": x}, v, 1) for x, v in ((0.1, 0.0), (0.1, 9.0), (0.5, 4.0))]
        assert warm([Past(LINE, seen)], points=1).points_to_evaluate == ({"x": 0.5},)

    def test_configurations_that_become_the_same_are_one(self):
        seen = [Observation({"x": x}, x, 1) for x in (0.51, 0.52, 0.9)]
        points = warm([Past(LINE, seen)], Space({"x": Float(0, 0.5)})).points_to_evaluate
        assert points == ({"x": 0.5},)

    def test_points_of_a_changed_space_are_accepted_by_the_searcher(self):
        new = Space({"lr": Float(1e-3, 2), "model": Branch({"svm": {}, "mlp": {"n": Int(1, 9)}})})
        past = [Past(MIXED, results(range(60), MIXED))]
        found = warm(past, new, champion=past[0].observations[0].config, champion_space=MIXED)
        assert len(found.points_to_evaluate) == 9
        TPE(points_to_evaluate=found.points_to_evaluate, known_results=found.known_results).check(
            new
        )

    def test_none_are_asked_for(self):
        found = warm([Past(LINE, results(range(9)))], points=0, champion={"x": 0.5})
        assert found.points_to_evaluate == ({"x": 0.5},)

    def test_without_a_past_there_is_nothing(self):
        found = warm([])
        assert found.points_to_evaluate == found.known_results == ()


class TestDistance:
    def test_numbers_count_by_their_share_of_the_prior(self):
        low, high = ({"lr": 1e-4}, {"lr": 1e-2})
        assert math.isclose(distance(coordinates(MIXED, low), coordinates(MIXED, high)), 0.5)

    def test_names_are_the_same_or_one_apart_and_what_one_has_not_is_one_apart(self):
        svm = {"lr": 0.1, "act": "relu", "model": {"type": "svm", "C": 5.0}}
        forest = {"lr": 0.1, "act": "gelu", "model": {"type": "forest", "trees": 3}}
        places = [coordinates(MIXED, config) for config in (svm, forest)]
        assert distance(*places) == 4.0
        assert distance(places[0], places[0]) == 0.0

    def test_the_farthest_is_chosen_from_what_is_taken_already(self):
        ranked = [{"x": x} for x in (0.5, 0.9, 0.1, 0.2, 0.7, 0.7)]
        assert good_and_diverse(LINE, ranked, 2, [{"x": 0.0}]) == [{"x": 0.5}, {"x": 0.9}]
        assert good_and_diverse(LINE, ranked, 2, [{"x": 1.0}]) == [{"x": 0.5}, {"x": 0.1}]


class TestKnownResults:
    def test_all_are_known_without_a_discount(self):
        seen = results(range(30))
        found = warm([Past(LINE, seen, shift=2.0)], discount=1.0)
        assert found.known_results == tuple(
            {"params": one.config, "value": one.value + 2.0} for one in seen
        )
        assert found.notes[1] == "past results that the searcher knows: 30 of 30"

    def test_none_are_known_when_the_past_counts_for_nothing(self):
        found = warm([Past(LINE, results(range(30)))], discount=0.0)
        assert found.known_results == ()
        assert len(found.points_to_evaluate) == 8
        assert "past results left out because the past counts less than today: 30" in found.notes

    def test_the_older_they_are_the_fewer_are_kept(self):
        ages = range(4)
        past = [
            Past(LINE, results(range(2000), seed=age), shift=age * 1e4, age=age) for age in ages
        ]
        found = warm(past, discount=0.5, most=10_000).known_results
        shares = [sum(r["value"] // 1e4 == age for r in found) / 2000 for age in ages]
        for age, share in enumerate(shares):
            assert abs(share - 0.5 ** (age + 1)) < 0.04

    def test_which_are_kept_has_nothing_to_do_with_their_values(self):
        found = warm([Past(LINE, results(range(4000)))], most=10_000).known_results
        assert abs(statistics.fmean(one["value"] for one in found) - 2000) < 100

    def test_the_oldest_come_first(self):
        past = [Past(LINE, results([age] * 3, seed=age), age=age) for age in range(3)]
        values = [one["value"] for one in warm(past, discount=1.0).known_results]
        assert values == [2, 2, 2, 1, 1, 1, 0, 0, 0]

    def test_a_configuration_that_was_seen_again_is_averaged_and_counts_as_new(self):
        old = [Observation({"x": x}, value, 1) for x, value in ((0.1, 1.0), (0.2, 5.0))]
        past = [Past(LINE, [Observation({"x": 0.1}, 3.0, 1)]), Past(LINE, old, age=1)]
        found = warm(past, discount=1.0)
        assert found.known_results == (
            {"params": {"x": 0.2}, "value": 5.0},
            {"params": {"x": 0.1}, "value": 2.0},
        )
        assert found.notes[1] == "past results that the searcher knows: 3 of 3"

    def test_too_many_are_thinned_to_the_best_and_an_even_spread_of_the_rest(self):
        found = warm([Past(LINE, results(range(1000)))], discount=1.0, most=100)
        values = [one["value"] for one in found.known_results]
        assert values[:25] == list(range(25))
        assert len(values) == 100
        gaps = [high - low for low, high in itertools.pairwise(values[25:])]
        assert set(gaps) == {13}
        assert "past results left out because there would be too many: 900" in found.notes

    def test_the_best_are_kept_of_a_metric_that_is_to_be_large(self):
        found = warm([Past(LINE, results(range(1000)))], mode="max", discount=1.0, most=8)
        assert {998, 999} <= {one["value"] for one in found.known_results}

    def test_a_result_outside_of_the_space_is_not_used(self):
        seen = [Observation({"x": x}, x, 1) for x in (0.1, 0.9)]
        found = warm([Past(LINE, seen)], Space({"x": Float(0, 0.5)}), discount=1.0)
        assert found.known_results == ({"params": {"x": 0.1}, "value": 0.1},)
        assert "past results outside of today's space: 1" in found.notes
        assert any(note.startswith("x is narrowed: ") for note in found.notes)

    def test_a_new_parameter_has_another_value_in_each_result_or_the_default(self):
        past = [Past(LINE, results(range(30)))]
        drawn = {one["params"]["y"] for one in warm(past, PLANE, discount=1.0).known_results}
        assert len(drawn) == 30
        assumed = warm(past, PLANE, discount=1.0, defaults={"y": 0.25})
        assert {one["params"]["y"] for one in assumed.known_results} == {0.25}
        assert all(point["y"] == 0.25 for point in assumed.points_to_evaluate)
        assert "y is new: past trials had 0.25" in assumed.notes

    def test_a_change_is_told_once_however_many_studies_it_is_from(self):
        past = [Past(LINE, results([1.0]), age=age) for age in range(3)]
        notes = warm(past, PLANE).notes
        assert sum(note.startswith("y is new") for note in notes) == 1
        assert not any(note.startswith("x is") for note in notes)

    def test_the_same_seed_tells_the_same_and_another_one_keeps_others(self):
        past = [Past(MIXED, results(range(100), MIXED))]
        new = Space({**MIXED.nodes, "drop": Float(0, 1)})
        one, same, other = (warm(past, new, seed=seed) for seed in (1, 1, 2))
        assert one == same
        assert one.known_results != other.known_results
        assert one.points_to_evaluate == other.points_to_evaluate

    def test_what_is_told_is_json(self):
        found = warm([Past(MIXED, results(range(50), MIXED))], MIXED)
        told = [list(found.points_to_evaluate), list(found.known_results)]
        assert json.loads(json.dumps(told)) == told

    @pytest.mark.parametrize("discount", [-0.1, 1.1, math.nan])
    def test_a_discount_that_is_no_share_is_refused(self, discount):
        with pytest.raises(SpecError, match="discount"):
            warm([], discount=discount)


class TestWhatTheModelMakesOfIt:
    def model(self, found, space, count=20):
        searcher = TPE(
            points_to_evaluate=found.points_to_evaluate, known_results=found.known_results
        )
        searcher.check(space)
        return [
            searcher.propose(space, History("loss", "min", s), random.Random(0))
            for s in range(count)
        ]

    def test_it_looks_where_past_results_were_good_from_the_first_proposal_on(self):
        seen = [Observation({"x": n / 100}, (n / 100 - 0.8) ** 2, 1) for n in range(101)]
        found = warm([Past(LINE, seen)], points=0, discount=0.9)
        proposed = [params["x"] for params in self.model(found, LINE)]
        assert statistics.median(abs(x - 0.8) for x in proposed) < 0.15

    def test_it_prefers_the_option_that_was_better_in_a_space_with_branches(self):
        seen = results([0.0] * 200, MIXED)
        seen = [
            Observation(one.config, float(one.config["model"]["type"] == "svm"), 1) for one in seen
        ]
        found = warm([Past(MIXED, seen)], MIXED, points=0, discount=0.9)
        proposed = [params["model"]["type"] for params in self.model(found, MIXED, 40)]
        assert proposed.count("forest") > 28

    def test_known_results_are_completed_trials_to_it_each_with_the_parameters_it_has(self):
        found = warm([Past(MIXED, results(range(40), MIXED))], MIXED, discount=1.0)
        view = HistoryView(
            Axes(MIXED),
            History("loss", "min"),
            lambda _: optuna.samplers.RandomSampler(),
            known=found.known_results,
        )
        trials = view._storage.trials
        assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
        assert {"model.svm.C" in trial.params for trial in trials} == {True, False}
        assert all(len(trial.params) == 4 for trial in trials)
