"""Several metrics and constraints: what a study is after, and which trials count."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine import NAN
from tuneflow.budget import Budget, Plateau
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Launched, Opened, Reported
from tuneflow.goals import Constraint, make_objectives, parse_constraints
from tuneflow.history import History
from tuneflow.nearest import nearest, why_no_best
from tuneflow.recording import record_outcome
from tuneflow.schedulers import FIFO
from tuneflow.searchers import TPE, Grid, Optuna, Random, Sobol
from tuneflow.searchers.base import Searcher
from tuneflow.space import Float, Space
from tuneflow.spec import study_from_json
from tuneflow.study import Study, decide
from tuneflow.testing.searchers import ENDINGS, ending
from tuneflow.trial import Outcome, Report, TrialState

SPACE = Space({"x": Float(0, 1)})
PLAIN = {
    "name": "two",
    "objective": {"ask_tell": True},
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "metric": ["accuracy", "size"],
    "mode": ["max", "min"],
    "searcher": "random",
    "trials": 3,
}


def two(*constraints: str) -> History:
    """Return the history of a study that wants a high accuracy and a low size."""
    return History("accuracy", "max", other_metrics={"size": "min"}, constraints=constraints)


def add(history: History, *reports: dict[str, float], status: str = "completed") -> None:
    """Add a trial that reports so and ends."""
    number = len(history.trials)
    history.append(Launched(number, 0, None, params={"x": 0.5}))
    for level, metrics in enumerate(reports, start=1):
        history.append(Reported(number, Report(level, metrics)))
    history.append(Closed(number, status))  # type: ignore[arg-type]


def at(accuracy: float, size: float, **others: float) -> dict[str, float]:
    return {"accuracy": accuracy, "size": size, **others}


def problem(**changes: object) -> str:
    with pytest.raises(SpecError) as caught:
        study_from_json({**PLAIN, **changes})
    return str(caught.value)


class TestConstraints:
    @pytest.mark.parametrize(
        ("text", "metric", "is_upper", "bound"),
        [
            ("latency_ms <= 100", "latency_ms", True, 100.0),
            ("recall>=0.9", "recall", False, 0.9),
            ("  peak memory  <=  1e3 ", "peak memory", True, 1000.0),
            ("c <= -0.5", "c", True, -0.5),
        ],
    )
    def test_one_is_a_metric_and_a_bound(self, text, metric, is_upper, bound):
        assert Constraint.parse(text) == Constraint(metric, is_upper, bound)

    @pytest.mark.parametrize(
        "text",
        [
            *["c < 1", "c = 1", "<= 1", "c <=", "c <= nan", "c <= inf", "c <= d", "1 2", 3, None],
            *["0 <= c <= 1", "0 >= c >= 1", "0 <= c"],
        ],
    )
    def test_anything_else_is_refused_by_its_place(self, text):
        with pytest.raises(SpecError, match=r"constraints\[1\].*write metric <= number"):
            parse_constraints(["a <= 1", text])

    @pytest.mark.parametrize("texts", ["a <= 1", {"a": 1}, 3])
    def test_they_are_a_list(self, texts):
        with pytest.raises(SpecError, match=r"constraints: .* is not a list"):
            parse_constraints(texts)

    @given(st.floats(-1e6, 1e6), st.sampled_from(["<=", ">="]))
    def test_what_it_says_reads_back_as_the_same(self, bound, sign):
        constraint = Constraint.parse(f"c {sign} {bound!r}")
        assert Constraint.parse(str(constraint)) == constraint

    @pytest.mark.parametrize(
        ("metrics", "expected"),
        [
            ({"a": 1.0, "b": 2.0}, 0.0),
            ({"a": 1.5, "b": 2.0}, 0.5),
            ({"a": 1.5, "b": 1.75}, 0.75),
            ({"a": -9.0, "b": 9.0}, 0.0),
            ({"a": 1.0}, math.inf),
            ({"a": NAN, "b": 2.0}, math.inf),
            ({"a": math.inf, "b": 2.0}, math.inf),
            ({"a": -math.inf, "b": 2.0}, 0.0),
        ],
    )
    def test_the_violation_is_what_bounds_are_broken_by_added_up(self, metrics, expected):
        assert two("a <= 1", "b >= 2").violation(metrics) == expected


class TestObjectives:
    @pytest.mark.parametrize(
        ("metric", "mode", "expected"),
        [
            ("a", "max", (("a", "max"),)),
            (["a"], ["min"], (("a", "min"),)),
            (["a", "b"], ["max", "min"], (("a", "max"), ("b", "min"))),
            (("a", "b"), ("max", "max"), (("a", "max"), ("b", "max"))),
        ],
    )
    def test_they_are_pairs_in_order(self, metric, mode, expected):
        assert make_objectives(metric, mode) == expected

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"mode": ["max"]}, "mode: metric has 2 and mode has 1 entries; write a mode for each"),
            ({"mode": "max"}, "mode: metric has 2 and mode has 1 entries"),
            ({"metric": "a"}, "mode: metric has 1 and mode has 2 entries"),
            ({"metric": ["a", "a"]}, "metric[1]: the metric 'a' is named twice"),
            ({"metric": ["a", ""]}, "metric[1]: '' is not a name"),
            ({"metric": [3, "a"]}, "metric[0]: 3 is not a name"),
            ({"metric": [], "mode": []}, "metric: the list is empty"),
            ({"mode": ["max", "up"]}, "mode[1]: 'up' is neither 'min' nor 'max'"),
            ({"constraints": ["a < 1"]}, "constraints[0]: 'a < 1' is not a bound"),
            ({"constraints": "a <= 1"}, "constraints: 'a <= 1' is not a list"),
        ],
    )
    def test_a_mistake_is_named(self, changes, message):
        assert message in problem(**changes)

    @pytest.mark.parametrize(
        ("metrics", "expected"),
        [
            (at(0.9, 3), (-0.9, 3.0)),
            (at(0.9, NAN), (math.inf, math.inf)),
            (at(-math.inf, 3), (math.inf, math.inf)),
            ({"accuracy": 0.9}, (math.inf, math.inf)),
        ],
    )
    def test_losses_are_all_infinite_when_one_is_unusable(self, metrics, expected):
        assert two().losses(metrics) == expected


class TestTheStudy:
    def test_its_json_has_lists_and_reads_back(self):
        study = study_from_json({**PLAIN, "constraints": ["ms<=1e2"]})
        assert (study.metric, study.mode) == ("accuracy", "max")
        assert study.other_metrics == {"size": "min"}
        data = study.to_json()
        assert (data["metric"], data["mode"]) == (["accuracy", "size"], ["max", "min"])
        assert data["constraints"] == ["ms <= 100"]
        assert study_from_json(json.loads(json.dumps(data))).to_json() == data

    @pytest.mark.parametrize(("metric", "mode"), [("a", "max"), (["a"], ["max"])])
    def test_one_metric_is_stored_as_it_always_was(self, metric, mode):
        data = study_from_json({**PLAIN, "metric": metric, "mode": mode}).to_json()
        assert (data["metric"], data["mode"]) == ("a", "max")
        assert list(data)[-1] == "resources"

    def test_plain_python_may_name_the_others(self):
        study = Study(
            "two", SPACE, "a", "max", Random(), FIFO(), trials=1, other_metrics={"b": "min"}
        )
        assert study.history().objectives == study.objectives == (("a", "max"), ("b", "min"))
        with pytest.raises(SpecError, match="named twice"):
            Study("two", SPACE, "a", "max", Random(), FIFO(), trials=1, other_metrics={"a": "min"})

    @pytest.mark.parametrize(
        "searcher",
        [
            Random(),
            Sobol(),
            TPE(),
            *(Optuna(sampler=s) for s in ("random", "qmc", "nsgaii", "nsgaiii", "gp")),
        ],
        ids=lambda one: getattr(one, "sampler", one.type),
    )
    def test_a_searcher_that_takes_several_metrics_is_taken(self, searcher):
        Study("two", SPACE, "a", "max", searcher, FIFO(), trials=1, other_metrics={"b": "min"})
        assert Grid.multi_objective

    def test_a_searcher_that_cannot_is_refused_with_those_that_can(self):
        class One(Searcher):
            type = "one"

            def propose(self, space, history, rng):
                return None

        for searcher, field in ((One(), "searcher"), (Optuna(sampler="cmaes"), "searcher.sampler")):
            with pytest.raises(SpecError, match=f"^{field}: .*this study has 2; use tpe, random"):
                Study(
                    "two", SPACE, "a", "max", searcher, FIFO(), trials=1, other_metrics={"b": "min"}
                )
            Study("one", SPACE, "a", "max", searcher, FIFO(), trials=1, constraints=["b <= 1"])

    def test_known_results_have_one_value_and_so_do_not_fit(self):
        known = ({"params": {"x": 0.5}, "value": 1.0},)
        for searcher, more in (
            (Random(known_results=known), {"other_metrics": {"b": "min"}}),
            (TPE(known_results=known), {"constraints": ["b <= 1"]}),
        ):
            with pytest.raises(SpecError, match=r"searcher\.known_results"):
                Study("two", SPACE, "a", "max", searcher, FIFO(), trials=1, **more)
        ignoring = Random(known_results=known)
        Study("one", SPACE, "a", "max", ignoring, FIFO(), trials=1, constraints=["b <= 1"])

    @pytest.mark.parametrize(
        ("reports", "message"),
        [
            ([{"accuracy": 0.9}], "no report has 'size'"),
            ([at(0.9, NAN)], "size is nan, never a finite number"),
            ([{"accuracy": 0.9}, {"size": 3.0}], "no one report has 'accuracy' and 'size'"),
        ],
    )
    def test_a_trial_that_ends_without_all_metrics_has_failed(self, reports, message):
        study = study_from_json(PLAIN)
        history = study.history()
        history.append(Opened(1))
        decide(study, history, 1)
        said = tuple(Report(level, metrics) for level, metrics in enumerate(reports, start=1))
        record_outcome(study, history, Outcome(0, 0, "completed", said))
        assert history.trials[0].state is TrialState.FAILED
        assert message in str(history.trials[0].failure)


class TestTheFront:
    def test_it_has_the_trials_that_none_betters_in_all(self):
        history = two()
        for metrics in (at(0.9, 5), at(0.8, 3), at(0.8, 4), at(0.95, 9), at(0.7, 3)):
            add(history, metrics)
        assert [trial.number for trial in history.pareto_front()] == [0, 1, 3]

    def test_equal_trials_all_stay(self):
        history = two()
        for _ in range(3):
            add(history, at(0.9, 5))
        assert [trial.number for trial in history.pareto_front()] == [0, 1, 2]

    def test_the_newest_report_with_all_metrics_counts(self):
        history = two()
        add(history, at(0.5, 1), at(0.9, 5), at(NAN, 1), {"accuracy": 1.0}, status="stopped")
        assert history.trial_losses(history.trials[0]) == (-0.9, 5.0)
        assert history.usable_report(history.trials[0]).resource == 2

    def test_failed_and_infeasible_trials_are_not_in_it(self):
        history = two("size <= 4")
        add(history, at(1.0, 1), status="failed")
        add(history, at(0.99, 4.5))
        add(history, at(0.5, 4))
        assert [trial.number for trial in history.pareto_front()] == [2]

    def test_what_a_clone_has_not_reported_itself_does_not_count(self):
        history = two()
        add(history, at(0.9, 5), status="paused")
        add(history, at(0.1, 6), status="paused")
        history.append(Launched(0, 1, None, params={"x": 0.6}, source=1, start=1))
        assert [trial.number for trial in history.pareto_front()] == [1]

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(ENDINGS),
                *[st.integers(0, 4) for _ in range(4)],
            ),
            max_size=24,
        ),
        st.lists(st.sampled_from(["min", "max"]), min_size=1, max_size=3),
        st.booleans(),
    )
    @settings(max_examples=150, deadline=None)
    def test_it_is_what_comparing_all_pairs_gives(self, trials, modes, bounded):
        names = ("loss", "b", "c")[: len(modes)]
        history = History(
            "loss",
            modes[0],
            other_metrics=dict(zip(names[1:], modes[1:], strict=True)),
            constraints=("cost <= 2",) if bounded else (),
        )
        for number, (how, *values) in enumerate(trials):
            history.append(Launched(number, 0, None, params={}))
            metrics = dict(zip(names, map(float, values), strict=False))
            history.extend(ending(how, number, **metrics, cost=float(values[3])))
        able = [
            trial
            for trial in history.trials
            if trial.state is not TrialState.FAILED
            and math.isfinite(history.trial_losses(trial)[0])
            and (not bounded or history.usable_report(trial).metrics["cost"] <= 2)
        ]
        points = {trial.number: history.trial_losses(trial) for trial in able}
        assert [trial.number for trial in history.pareto_front()] == [
            number
            for number, point in points.items()
            if not any(
                other != point and all(a <= b for a, b in zip(other, point, strict=True))
                for other in points.values()
            )
        ]


class TestTheBest:
    def test_it_goes_by_the_first_metric_and_keeps_the_bounds(self):
        history = two("ms <= 10")
        add(history, at(0.99, 1, ms=11))
        add(history, at(0.90, 9, ms=10))
        add(history, at(0.80, 1, ms=1))
        assert history.best().number == 1
        assert history.best_loss == -0.9

    def test_a_report_outside_of_the_bounds_is_no_progress(self):
        history = two("ms <= 10")
        add(history, at(0.5, 1, ms=1))
        budget = Budget(target=0.9, plateau=Plateau(segments=2, min_trials=1))
        for _ in range(2):
            add(history, at(0.95, 1, ms=11))
        assert "has not improved in 2 segments" in budget.ending(history)
        add(history, at(0.95, 1, ms=9))
        assert "has reached the target" in budget.ending(history)

    @pytest.mark.parametrize(
        ("trials", "message"),
        [
            ([], "has a finite 'accuracy' and 'size'"),
            ([at(0.9, NAN)], "has a finite 'accuracy' and 'size'"),
            (
                [{"accuracy": 0.9, "size": 1, "mss": 3}],
                "'ms', which has a bound (did you mean 'mss'?)",
            ),
            (
                [at(0.9, 1, ms=30), at(0.8, 2, ms=12.5)],
                "keeps the bounds ms <= 10 (trial 1 is nearest, 2.5 too far)",
            ),
            ([at(0.9, 1, ms=NAN)], "reports all metrics that have bounds: ms <= 10"),
        ],
    )
    def test_where_there_is_none_it_is_said_why(self, trials, message):
        history = two("ms <= 10")
        for metrics in trials:
            add(history, metrics)
        assert history.best() is None
        assert message in why_no_best(history)

    def test_the_nearest_trial_breaks_the_bounds_by_the_least(self):
        history = two("ms <= 10", "size >= 2")
        for metrics in (at(1, 1, ms=10.5), at(1, 2, ms=10.5), at(1, 1, ms=10)):
            add(history, metrics)
        assert nearest(history).number == 1
        add(history, at(1, 2, ms=10), status="failed")
        assert nearest(history).number == 1

    def test_the_best_is_in_the_front_also_where_trials_are_equal_in_the_first_metric(self):
        history = two()
        for metrics in (at(0.9, 5), at(0.9, 4), at(0.9, 4), at(0.8, 1)):
            add(history, metrics)
        assert [trial.number for trial in history.pareto_front()] == [1, 2, 3]
        assert history.best().number == 1

    def test_a_report_that_lacks_a_metric_counts_for_nothing(self):
        history = two()
        add(history, at(0.8, 1))
        add(history, at(0.5, 2), {"accuracy": 0.99})
        assert history.trial_loss(history.trials[1]) == -0.5
        assert history.best().number == 0

    def test_infeasible_trials_are_no_reason_to_halt(self):
        study = study_from_json({**PLAIN, "trials": 60, "constraints": ["ms <= 1"]})
        history = study.history()
        add(history, at(0.5, 1, ms=2))
        for _ in range(25):
            add(history, status="failed")
        decide(study, history, 1)
        assert history.halted is None
        assert history.running
