"""What Optuna's samplers see of several metrics and constraints, and what they make of it."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuneflow.events import Closed, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.searchers import TPE, Optuna, Random
from tuneflow.searchers.optuna_axes import Axes
from tuneflow.searchers.optuna_view import HistoryView
from tuneflow.space import Float, Space
from tuneflow.testing.searchers import ENDINGS, play
from tuneflow.trial import Report

SQUARE = Space({"x": Float(-1, 1), "y": Float(-1, 1)})
SAMPLERS = {
    "tpe": TPE(n_startup_trials=5),
    "nsgaii": Optuna(sampler="nsgaii", options={"population_size": 6}),
    "nsgaiii": Optuna(sampler="nsgaiii", options={"population_size": 6}),
    "random": Optuna(sampler="random"),
    "qmc": Optuna(sampler="qmc"),
}


def two(*constraints: str, limit: int | None = None) -> History:
    goals = {"other_metrics": {"size": "max"}, "constraints": constraints}
    return History("loss", "min", 0, limit, **goals)


def view_of(history, *facts):
    view = HistoryView(Axes(SQUARE), history, lambda _: optuna.samplers.RandomSampler())
    for fact in facts:
        view.apply(fact)
    return view


def launched(number=0, x=0.5, **more):
    return Launched(number, 0, None, params={"x": x, "y": 0.0}, **more)


def reported(level, number=0, **metrics):
    return Reported(number, Report(level, metrics))


class TestSeveralMetrics:
    def test_the_study_makes_every_loss_small(self):
        view = view_of(two())
        expected = [StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
        assert view._storage.get_study_directions(0) == expected

    @pytest.mark.parametrize("status", ["completed", "paused", "stopped"])
    def test_a_trial_that_ended_with_all_of_them_is_complete(self, status):
        facts = [launched(), reported(1, loss=2.0, size=5.0), Closed(0, status)]
        [trial] = view_of(two(limit=9), *facts).trials
        assert (trial.state, trial.values) == (TrialState.COMPLETE, [2.0, -5.0])
        assert trial.intermediate_values == {}

    def test_the_newest_report_with_all_of_them_counts(self):
        reports = [reported(1, loss=2.0, size=5.0), reported(2, loss=1.0)]
        [trial] = view_of(two(), launched(), *reports, Closed(0, "completed")).trials
        assert trial.values == [2.0, -5.0]

    @pytest.mark.parametrize("metrics", [{"loss": 2.0}, {"loss": 2.0, "size": math.nan}, {}])
    def test_a_trial_that_lacks_one_has_failed(self, metrics):
        facts = [launched(), reported(1, **metrics), Closed(0, "paused")]
        [trial] = view_of(two(), *facts).trials
        assert (trial.state, trial.values) == (TrialState.FAIL, None)

    @pytest.mark.parametrize("ending", [[], [Closed(0, "failed")]])
    def test_a_trial_that_goes_on_keeps_its_values_for_genetic_samplers(self, ending):
        facts = [launched(), reported(1, loss=2.0, size=5.0), Closed(0, "paused")]
        [trial] = view_of(two(), *facts, Launched(0, 1, None, start=1), *ending).trials
        assert trial.state is (TrialState.FAIL if ending else TrialState.RUNNING)
        assert trial.values == [2.0, -5.0]

    @pytest.mark.parametrize("name", ["nsgaii", "nsgaiii", "tpe"])
    def test_parents_may_be_resumed_cloned_or_fail(self, name):
        """Of a sampler that looks at a trial it has chosen before, whatever became of that."""
        history = two("cost <= 0.3")
        list(play(SAMPLERS[name], SQUARE, history, ["paused"], 18))
        for number in range(18):
            cloned = {"params": {"x": 0.1, "y": 0.1}, "source": 5} if number % 3 == 2 else {}
            history.append(Launched(number, 1, None, start=1, **cloned))
            history.append(Closed(number, "failed" if number % 3 == 1 else "stopped"))
        for number in range(18):
            history.append(Stopped(number, "enough")) if number % 3 != 1 else None
        again = two("cost <= 0.3")
        again.extend(history.facts)
        found = list(play(SAMPLERS[name], SQUARE, history, ENDINGS, 20))
        assert all(map(SQUARE.contains, found))
        assert list(play(SAMPLERS[name], SQUARE, again, ENDINGS, 20)) == found


class TestConstraints:
    def test_a_trial_has_a_margin_for_each(self):
        history = History("loss", "min", constraints=["cost <= 3", "gain >= 1"])
        facts = [launched(), reported(1, loss=2.0, cost=5.0, gain=1.5), Closed(0, "paused")]
        [trial] = view_of(history, *facts).trials
        assert trial.state is TrialState.PRUNED
        assert trial.system_attrs["constraints"] == [2.0, -0.5]

    @pytest.mark.parametrize("metrics", [{}, {"cost": math.nan}, {"cost": math.inf}])
    def test_a_trial_that_leaves_one_open_has_failed(self, metrics):
        history = History("loss", "min", constraints=["cost <= 3"])
        facts = [launched(), reported(1, loss=2.0, **metrics), Closed(0, "completed")]
        assert view_of(history, *facts).trials[0].state is TrialState.FAIL

    def test_without_constraints_there_are_none(self):
        facts = [launched(), reported(1, loss=2.0), Closed(0, "completed")]
        assert view_of(History("loss", "min"), *facts).trials[0].system_attrs == {}


def solved(searcher, history, trials=70):
    """Play a study in which size is best at x=1, loss at x=0, and cost wants x over 0.5."""
    for number in range(trials):
        params = searcher.suggest(SQUARE, history)
        history.append(Launched(number, 0, None, params=params))
        x, y = params["x"], params["y"]
        metrics = {"loss": x * x + y * y, "size": -((x - 1) ** 2) - y * y, "cost": 0.5 - x}
        history.append(Reported(number, Report(1, metrics)))
        history.append(Closed(number, "completed"))
    return history


class TestWhatTheyMakeOfIt:
    @pytest.mark.parametrize("name", ["tpe", "nsgaii"])
    def test_proposals_come_near_the_front_and_along_all_of_it(self, name):
        """The true front is y = 0 with x from 0 to 1."""

        def last(searcher):
            return [trial.params for trial in solved(searcher, two(), 120).trials[60:]]

        found = last(SAMPLERS[name])
        off = sum(abs(params["y"]) for params in found)
        assert off < 0.8 * sum(abs(params["y"]) for params in last(Random()))
        assert min(p["x"] for p in found) < 0.2
        assert max(p["x"] for p in found) > 0.8

    @pytest.mark.parametrize("name", ["tpe", "nsgaii"])
    def test_bounds_are_kept_more_often_than_by_chance(self, name):
        def kept(searcher):
            history = solved(searcher, History("loss", "min", constraints=["cost <= 0"]))
            return sum(history.trial_violation(trial) == 0 for trial in history.trials)

        assert kept(SAMPLERS[name]) > 1.4 * kept(Random())
