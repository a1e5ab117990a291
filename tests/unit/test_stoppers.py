"""Stoppers: when a trial, or the study, has had enough, and what becomes of it then."""

from __future__ import annotations

import math
from random import Random as Draws

import pytest

from tests.machine import NAN, Machine, make_study
from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.events import Finished, Launched, Opened, Stopped
from tuneflow.history import History
from tuneflow.plugins import make
from tuneflow.schedulers import ASHA, FIFO, PBT, Hyperband, MedianStopping, SuccessiveHalving
from tuneflow.spec import study_from_json
from tuneflow.stoppers import (
    Combined,
    ExperimentPlateau,
    Function,
    MaxResource,
    Stopper,
    TrialPlateau,
)
from tuneflow.trial import Report, TrialState
from tuneflow.views import text


def poor(trial, metrics):
    """Stop trial 1 at once, and whoever is worse than its level."""
    return trial == 1 or metrics["loss"] > metrics["resource"]


def broken(trial, metrics):
    raise RuntimeError("no")


HERE = f"{__name__}:poor"


def verdicts(stopper: Stopper, reports, history: History | None = None) -> list[int]:
    """Return at which of (trial, value) a trial would end."""
    watch = stopper.watch(history or History("loss", "min"))
    return [
        position
        for position, (trial, value) in enumerate(reports)
        if watch.report(trial, Report(position + 1, {} if value is None else {"loss": value}))
    ]


def drawn(seed: int) -> list[tuple[int, float]]:
    """Return the reports of three trials, turn about."""
    draws = Draws(seed)
    return [(k % 3, draws.random() * draws.random()) for k in range(60)]


class TestTrialPlateau:
    # What TrialPlateauStopper of Ray 2.60 said of the same reports.
    @pytest.mark.parametrize(
        ("fields", "first", "second"),
        [
            ({}, [], []),
            (
                {"std": 0.1},
                [11, 14, 15, 19, 41, 44],
                [12, 29, 30, 33, 36, 39, 51, 53, 54, 55, 56, 57, 58, 59],
            ),
            (
                {"std": 0.1, "num_results": 6, "grace_period": 0},
                [],
                [36, 39, 42, 55, 57, 58, 59],
            ),
            (
                {"std": 0.15, "metric_threshold": 0.2, "mode": "min"},
                [10, 13, 15, 16, 17, 19, 36, 38, 41, 44, 57],
                [15, 40, 42, 43, 45, 46, 48, 51, 52, 53, 54, 55, 56, 57, 58, 59],
            ),
            (
                {"std": 0.15, "metric_threshold": 0.2, "mode": "max"},
                [11, 14, 40, 43, 46],
                [12, 29, 30, 33, 34, 36, 37, 39, 49],
            ),
        ],
    )
    def test_it_says_what_the_reference_says(self, fields, first, second):
        assert verdicts(TrialPlateau(**fields), drawn(1)) == first
        assert verdicts(TrialPlateau(**fields), drawn(2)) == second

    def test_it_begins_after_the_grace_period(self):
        still = [(0, 1.0)] * 12
        assert verdicts(TrialPlateau(), still)[0] == 3
        assert verdicts(TrialPlateau(grace_period=9), still)[0] == 8
        assert verdicts(TrialPlateau(num_results=6), still)[0] == 5

    @pytest.mark.parametrize("useless", [NAN, math.inf, None])
    def test_a_useless_value_is_no_plateau(self, useless):
        values = [1, 1, 1, useless, 1, 1, 1, 1]
        assert verdicts(TrialPlateau(), [(0, value) for value in values]) == [7]

    def test_the_threshold_goes_by_the_mode_of_the_study(self):
        history = History("loss", "max")
        still = [(0, 0.5)] * 5
        assert verdicts(TrialPlateau(metric_threshold=0.6), still, history) == []
        assert verdicts(TrialPlateau(metric_threshold=0.4), still, history) == [3, 4]

    def test_a_metric_that_is_optimised_too_has_its_own_mode(self):
        history = History("other", "max", other_metrics={"loss": "min"})
        still = [(0, 0.5)] * 4
        assert verdicts(TrialPlateau(metric="loss", metric_threshold=0.6), still, history) == [3]


class TestExperimentPlateau:
    # At which report ExperimentPlateauStopper of Ray 2.60 ended the study.
    @pytest.mark.parametrize(
        ("fields", "first", "second"),
        [
            ({}, None, None),
            ({"std": 0.01}, 45, None),
            ({"std": 0.01, "top": 5}, 13, 53),
            ({"std": 0.01, "top": 5, "patience": 3}, 15, 55),
        ],
    )
    def test_it_ends_the_study_where_the_reference_does(self, fields, first, second):
        for seed, expected in ((1, first), (2, second)):
            found = verdicts(ExperimentPlateau(**fields), drawn(seed))
            assert next(iter(found), None) == expected

    def test_the_best_are_the_largest_where_the_study_maximises(self):
        reports = [(0, 1.0), (0, 5.0), (0, 2.0), (0, 1.0), (0, 5.0)]
        stopper = ExperimentPlateau(top=2)
        assert verdicts(stopper, reports)[0] == 3
        assert verdicts(stopper, reports, History("loss", "max"))[0] == 4

    def test_a_useless_value_is_passed_over(self):
        assert verdicts(ExperimentPlateau(top=2), [(0, 1.0), (0, NAN), (1, None), (1, 1.0)]) == [3]

    def test_it_ends_the_whole_study(self):
        machine = Machine(FIFO(max_resource=9), trials=4, slots=2, stop=(ExperimentPlateau(top=3),))
        machine.decide()
        machine.report(0, 1, 5)
        machine.report(1, 1, 5)
        assert machine.decide() == []
        machine.report(0, 2, 5)
        reason = "the best 3 values of loss hardly differ"
        assert machine.decide() == [Stopped(0, reason), Stopped(1, reason), Finished(reason)]

    def test_a_better_value_in_the_same_breath_comes_too_late(self):
        machine = Machine(FIFO(max_resource=9), trials=4, slots=2, stop=(ExperimentPlateau(top=2),))
        machine.decide()
        for level, value in enumerate([5, 5, 1], start=1):
            machine.report(0, level, value)
        machine.decide()
        assert machine.history.finished


class TestMaxResource:
    def test_a_trial_ends_at_the_level(self):
        machine = Machine(FIFO(), trials=2, slots=2, stop=(MaxResource(3),))
        machine.decide()
        machine.report(0, 2, 1)
        assert machine.decide() == []
        machine.report(0, 3, 1)
        assert machine.decide() == [Stopped(0, "it has reached the level 3")]
        machine.close(0, "stopped")
        assert machine.history.trials[0].state is TrialState.STOPPED

    def test_in_rounds_it_is_where_the_segment_ends(self):
        machine = Machine(FIFO(), trials=2, round_size="all", stop=(MaxResource(3),))
        assert machine.launched() == [(0, 3), (1, 3)]
        machine.pause(0, 1)
        machine.pause(1, 1)
        assert [f.trial for f in machine.decide() if isinstance(f, Stopped)] == [0, 1]
        assert machine.history.state == "finished"


class TestFunction:
    def test_it_is_asked_about_each_report(self):
        machine = Machine(FIFO(max_resource=9), trials=3, slots=3, stop=(Function(poor),))
        machine.decide()
        machine.report(0, 1, 0.5)
        machine.report(1, 1, 0.5)
        machine.report(2, 1, 1.5)
        reason = f"{HERE} says so"
        assert machine.decide() == [Stopped(1, reason), Stopped(2, reason)]

    def test_it_is_kept_by_its_path(self):
        assert Function(poor) == Function(HERE)
        assert Function(poor).to_json() == {"type": "function", "function": HERE}

    @pytest.mark.parametrize("function", [lambda trial, metrics: True, Draws(1).random, 5])
    def test_what_has_no_path_is_refused(self, function):
        with pytest.raises(SpecError, match="cannot be imported by another process"):
            Function(function)

    @pytest.mark.parametrize("path", ["no.such.module:f", f"{__name__}:none", "math:pi"])
    def test_what_is_not_there_is_found_before_a_trial_begins(self, path):
        with pytest.raises(SpecError, match=r"stop\.function: .* (cannot be|is not a)"):
            Machine(FIFO(), trials=1, stop=(Function(path),)).decide()

    def test_its_error_says_whose_it_is(self):
        machine = Machine(FIFO(), trials=1, stop=(Function(broken),))
        machine.decide()
        with pytest.raises(SpecError, match="broken raised RuntimeError: no"):
            machine.report(0, 1, 1)


class TestCombined:
    REPORTS = [(0, 1.0)] * 8

    def test_any_of_them_is_enough(self):
        either = Combined((TrialPlateau(), MaxResource(7)))
        assert verdicts(either, self.REPORTS) == [3, 4, 5, 6, 7]

    def test_all_of_them_must_say_so(self):
        both = Combined((TrialPlateau(), MaxResource(7)), mode="all")
        assert verdicts(both, self.REPORTS) == [6, 7]

    def test_the_study_ends_only_when_all_of_them_would_end_it(self):
        flat = ExperimentPlateau(top=2)
        for stopper, ends in (
            (Combined((flat, TrialPlateau())), True),
            (Combined((flat, TrialPlateau()), mode="all"), False),
            (Combined((flat, ExperimentPlateau(top=3)), mode="all"), True),
        ):
            watch = stopper.watch(History("loss", "min"))
            for position, (trial, value) in enumerate(self.REPORTS[:3]):
                watch.report(trial, Report(position + 1, {"loss": value}))
            assert (watch.ending() is not None) is ends

    def test_a_trial_can_wait_for_the_study_to_be_flat(self):
        both = Combined((ExperimentPlateau(top=6), MaxResource(3)), mode="all")
        assert verdicts(both, self.REPORTS) == [5, 6, 7]


class TestInAStudy:
    def test_nobody_is_told_twice(self):
        stop = (MaxResource(1), TrialPlateau(grace_period=0, num_results=2))
        machine = Machine(ASHA(9, variant="stopping"), trials=4, slots=4, stop=stop)
        machine.decide()
        for level in (1, 2, 3):
            for trial in range(4):
                machine.report(trial, level, 1)
            machine.decide()
        told = [f.trial for f in machine.history.facts if isinstance(f, Stopped)]
        assert sorted(told) == [0, 1, 2, 3]

    def test_a_paused_trial_ends_at_once_and_is_not_promoted(self):
        machine = Machine(ASHA(9, reduction_factor=3), trials=3, slots=3, stop=(Function(poor),))
        machine.decide()
        for trial, value in enumerate([0.9, 0.1, 0.8]):
            machine.pause(trial, value)
        facts = machine.decide()
        assert facts[0] == Stopped(1, f"{HERE} says so")
        # It was the best of its rung, and nobody gets its place.
        assert not any(isinstance(fact, Launched) for fact in facts)

    def test_a_rung_with_a_barrier_promotes_somebody_else(self):
        scheduler = SuccessiveHalving(max_resource=9, n_trials=9)
        machine = Machine(scheduler, trials=9, slots=9, stop=(Function(poor),))
        machine.decide()
        for trial in range(8):
            machine.pause(trial, trial / 10)
        # Trial 1 is told while the rung still waits for the last one.
        assert [fact.trial for fact in machine.decide() if isinstance(fact, Stopped)] == [1]
        machine.pause(8, 0.8)
        assert machine.launched() == [(0, 3), (2, 3), (3, 3)]

    def test_a_complete_trial_is_not_stopped(self):
        machine = Machine(FIFO(max_resource=3), trials=1, stop=(MaxResource(3),))
        machine.decide()
        machine.report(0, 3, 1)
        assert machine.decide() == []
        machine.close(0)
        assert machine.history.trials[0].state is TrialState.COMPLETED

    def test_a_trial_that_waits_to_be_tried_again_is_not(self):
        budget = Budget(max_losses_per_trial=1)
        machine = Machine(FIFO(max_resource=9), trials=1, budget=budget, stop=(MaxResource(2),))
        machine.decide()
        machine.report(0, 2, 1)
        machine.close(0, "lost")
        assert [type(fact) for fact in machine.decide()] == [Stopped, Finished]

    def test_a_failed_trial_that_is_tried_again_may_be_stopped_then(self):
        machine = Machine(FIFO(max_resource=9), trials=1, stop=(MaxResource(2),))
        machine.decide()
        machine.report(0, 2, 1)
        machine.close(0, "failed")
        machine.decide()
        machine.history.append(Opened(1, retry_failed=True))
        machine.decide()
        assert machine.history.running
        machine.report(0, 3, 1)
        assert [fact.trial for fact in machine.decide()] == [0]

    def test_in_rounds_a_trial_is_looked_at_after_each_interval(self):
        stop = (TrialPlateau(interval=2), Function(poor, interval=3))
        machine = Machine(MedianStopping(max_resource=9, interval=5), trials=1, stop=stop)
        assert machine.launched() == [(0, 9)]
        machine = Machine(
            MedianStopping(max_resource=9, interval=5), trials=1, round_size=1, stop=stop
        )
        assert machine.launched() == [(0, 2)]
        machine.pause(0, 1)
        assert machine.launched() == [(0, 4)]

    def test_in_rounds_a_scheduler_that_pauses_trials_ends_segments_alone(self):
        stop = (TrialPlateau(interval=1), MaxResource(2))
        for scheduler in (ASHA(9, reduction_factor=3), Hyperband(9), PBT(9, interval=3)):
            made = Machine(scheduler, trials=9, round_size="all", stop=stop)
            plain = Machine(scheduler, trials=9, round_size="all")
            assert made.launched() == plain.launched()

    def test_a_study_without_stoppers_says_nothing_of_them(self):
        assert "stop" not in make_study(trials=1).to_json()
        assert text.stoppers(make_study(trials=1)) is None

    def test_people_are_told_which_stoppers_there_are(self):
        study = make_study(trials=1, stop=(TrialPlateau(), MaxResource(3)))
        assert text.stoppers(study) == "trial_plateau, max_resource (max_resource=3)"


class TestInAStudyFile:
    def study(self, stop):
        data = make_study(trials=1, objective={"function": "train.py:train"}).to_json()
        return study_from_json({**data, "stop": stop})

    def test_one_or_several_are_read(self):
        assert self.study(None).stop == ()
        assert self.study("trial_plateau").stop == (TrialPlateau(),)
        stop = [{"type": "max_resource", "max_resource": 5}, "experiment_plateau"]
        assert self.study(stop).stop == (MaxResource(5), ExperimentPlateau())

    def test_stoppers_may_hold_stoppers(self):
        inner = [
            {"type": "max_resource", "max_resource": 5},
            {"type": "function", "function": "a:b"},
        ]
        made = self.study({"type": "combined", "mode": "all", "stoppers": inner})
        assert made.stop == (Combined((MaxResource(5), Function("a:b")), mode="all"),)

    @pytest.mark.parametrize(
        "stop",
        [
            TrialPlateau(std=0.5, metric="other", mode="max", metric_threshold=1.5, interval=3),
            ExperimentPlateau(std=0.5, top=3, patience=4),
            Function(poor, interval=2),
            MaxResource(0.5),
            Combined((Combined((MaxResource(3),)), TrialPlateau()), mode="all"),
        ],
    )
    def test_what_is_written_is_read_again(self, stop):
        made = self.study(stop.to_json())
        assert made.stop == (stop,)
        assert made.to_json()["stop"] == [stop.to_json()]
        assert study_from_json(made.to_json()) == made
        assert make("stopper", stop.to_json()) == stop

    @pytest.mark.parametrize(
        ("stop", "problem"),
        [
            ("plateau", "stop.type: there is no stopper 'plateau'"),
            ({"type": "trial_plateau", "std": 0}, "stop.std: 0 is not a number above 0"),
            (["max_resource"], "stop[0].max_resource: is needed and missing"),
            (["trial_plateau", {"type": "trial_plateau", "sdt": 1}], "stop[1].sdt: unknown key"),
            (
                {"type": "combined", "stoppers": [{"type": "experiment_plateau", "top": 1}]},
                "stop.stoppers[0].top: 1 is not a whole number of 2 or more",
            ),
            ({"type": "combined", "stoppers": []}, "stop.stoppers: there is none"),
            ({"type": "function", "function": "nothing"}, "stop.function: 'nothing' is not an"),
            (5, "stop: 5 does not say which stopper"),
        ],
    )
    def test_a_mistake_is_named_with_its_place(self, stop, problem):
        with pytest.raises(SpecError) as caught:
            self.study(stop)
        assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("make_stopper", "field"),
    [
        (lambda: TrialPlateau(num_results=1), "num_results"),
        (lambda: TrialPlateau(grace_period=-1), "grace_period"),
        (lambda: TrialPlateau(std=NAN), "std"),
        (lambda: TrialPlateau(metric_threshold=NAN), "metric_threshold"),
        (lambda: TrialPlateau(mode="up"), "mode"),
        (lambda: TrialPlateau(interval=0), "interval"),
        (lambda: ExperimentPlateau(patience=-1), "patience"),
        (lambda: ExperimentPlateau(std=-1), "std"),
        (lambda: MaxResource(0), "max_resource"),
        (lambda: Combined((MaxResource(1),), mode="both"), "mode"),
        (lambda: Function(poor, interval=-1), "interval"),
    ],
)
def test_a_value_that_cannot_work_is_named(make_stopper, field):
    with pytest.raises(SpecError, match=f"stopper.{field}"):
        make_stopper()
