"""The terminal views: what they say, and that they say it seldom enough."""

from __future__ import annotations

import io
import itertools
import math
import re
import time
from collections.abc import Callable
from typing import Literal

import pytest
from rich.console import Console, RenderableType

from tests.example_studies import accuracy, make_study, play, schedulers
from tuneflow.budget import Budget
from tuneflow.events import Closed, Halted, Launched, Opened, Reported
from tuneflow.history import History
from tuneflow.schedulers.asha import ASHA
from tuneflow.schedulers.base import Scheduler
from tuneflow.schedulers.dehb import DEHB
from tuneflow.schedulers.fifo import FIFO
from tuneflow.schedulers.pbt import PBT
from tuneflow.schedulers.resource_changing import ResourceChanging
from tuneflow.study import Study
from tuneflow.trial import Failure, Params, Report, TrialState
from tuneflow.views import text
from tuneflow.views.progress import Best, rungs_of, share_done, trial_limit
from tuneflow.views.terminal import (
    LiveView,
    best_panel,
    rungs_table,
    status_table,
    summary,
    trials_table,
)

PARAMS: Params = {"lr": 0.0123456789, "layers": 3, "act": "relu", "opt": {"momentum": 0.5}}


def shown(view: RenderableType | None) -> list[str]:
    """Return the lines of a view at 80 columns, without the space at their ends."""
    assert view is not None
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(view)
    return [line.rstrip() for line in console.export_text().splitlines()]


def small_history(study: Study) -> History:
    """Return two trials that paused, one that failed and one that runs."""
    history = study.history()
    for number, value in enumerate([0.5, 0.75]):
        history.append(Launched(number, 0, 1, params=PARAMS))
        history.append(Reported(number, Report(1, {"accuracy": value}, f"trials/{number}/c.json")))
        history.append(Closed(number, "paused"))
    history.append(Launched(2, 0, 1, params=PARAMS))
    history.append(Closed(2, "failed", Failure("ValueError", "lr 0.5 is\ntoo \x1b[31mlarge")))
    history.append(Launched(3, 0, 1, params=PARAMS))
    return history


def fails_with_one_layer(params: Params, level: int) -> float:
    if params["layers"] == 1:
        raise ValueError(f"one layer is too few at {params['lr']}")
    return accuracy(params, level)


class TestTables:
    def test_status_says_what_the_study_is_and_where_it_stands(self) -> None:
        study = make_study()
        assert shown(status_table(study, small_history(study), "./results/digits")) == [
            "study      digits",
            "url        ./results/digits",
            "state      running",
            "goal       highest accuracy",
            "searcher   draw",
            "scheduler  asha (max_resource=27, reduction_factor=3)",
            "trials     1 running, 2 paused, 1 failed",
            "resource   2 units",
            "best       0.75  trial 1 at 1  lr=0.012346  layers=3  act=relu  opt.momentum=0.5",
        ]

    def test_status_of_a_new_study(self) -> None:
        study = make_study()
        lines = shown(status_table(study, study.history()))
        assert "state      new" in lines
        assert "trials     none yet" in lines
        assert "best       no trial yet has a finite accuracy" in lines

    def test_trials_have_a_row_each_that_fits_the_width(self) -> None:
        study = make_study()
        lines = shown(trials_table(study, small_history(study)))
        assert [line.split()[:4] for line in lines[2:]] == [
            ["0", "paused", "1", "0.5"],
            ["1", "paused", "1", "0.75"],
            ["2", "failed", "0", "-"],
            ["3", "running", "0", "-"],
        ]
        assert "ValueError: lr 0.5 is too \\x1b[31mlarge" in lines[4]
        assert all(len(line) <= 80 for line in lines)

    def test_trials_can_be_chosen_and_ordered(self) -> None:
        study = make_study()
        history = small_history(study)
        lines = shown(trials_table(study, history, [history.trials[1], history.trials[0]]))
        assert [line.split()[0] for line in lines[2:]] == ["1", "0"]

    def test_best_is_an_aligned_table(self) -> None:
        study = make_study()
        assert shown(best_panel(study, small_history(study))) == [
            "╭─ best: trial 1, accuracy 0.75 at 1 ─╮",
            "│ lr            0.012346              │",
            "│ layers        3                     │",
            "│ act           relu                  │",
            "│ opt.momentum  0.5                   │",
            "│ checkpoint    trials/1/c.json       │",
            "╰─────────────────────────────────────╯",
        ]

    def test_markup_in_users_texts_is_only_text(self) -> None:
        study = make_study(name="[bold]x[/bold]")
        history = study.history()
        history.append(Launched(0, 0, None, params={"[red]": "[/nothing]"}))
        history.append(Reported(0, Report(1, {"accuracy": 1.0})))
        assert "study      [bold]x[/bold]" in shown(status_table(study, history))
        assert "│ [red]  [/nothing]" in "\n".join(shown(best_panel(study, history)))

    def test_rungs_count_results_promotions_and_running_trials(self) -> None:
        study = make_study()
        history = small_history(study)
        history.append(Launched(1, 1, 3, start=1))
        assert shown(rungs_table(study, history)) == [
            "rung   results   went on   running   best accuracy",
            "──────────────────────────────────────────────────",
            "  27         0                   0               -",
            "   9         0         0         0               -",
            "   3         0         0         1               -",
            "   1         2         1         1            0.75",
        ]

    def test_a_scheduler_without_rungs_has_no_table_of_them(self) -> None:
        study = make_study(scheduler=FIFO(max_resource=3))
        assert rungs_table(study, study.history()) is None


class TestSummary:
    def test_groups_failures_and_says_how_to_see_a_log(self) -> None:
        played = play(objective=fails_with_one_layer)
        lines = shown(summary(played.study, played.history, "./my results/digits", 65))
        failed = played.history.counts[TrialState.FAILED]
        first = next(t.number for t in played.history.trials if t.failure)
        assert failed > 1
        assert lines[0] == "digits finished: all 30 trials are done"
        assert re.fullmatch(
            rf"30 trials: \d+ completed, \d+ stopped, {failed} failed"
            r" \(\d+ units of resource, 1:05\)",
            lines[1],
        )
        at = lines.index("failures")
        assert lines[at + 1].startswith(f"  {failed} trials: ValueError: one layer is too few")
        assert lines[at + 2] == f"    tuneflow logs './my results/digits' {first}"

    def test_says_how_to_go_on_with_a_halted_study(self) -> None:
        study = make_study()
        history = small_history(study)
        history.append(Halted("interrupted"))
        lines = shown(summary(study, history, "s3://b/digits"))
        assert lines[0] == "digits halted: interrupted"
        assert lines[-1] == "go on with: tuneflow resume s3://b/digits"

    def test_says_nothing_of_that_where_the_study_runs_elsewhere(self) -> None:
        study = make_study()
        lines = shown(summary(study, small_history(study), "s3://b/digits", is_driven_here=False))
        assert not any("go on with" in line for line in lines)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain_lines(
    study: Study, feed: Callable[[LiveView, Clock], None], width: int = 80
) -> list[str]:
    """Return what a view prints where there is no terminal."""
    file, clock = io.StringIO(), Clock()
    with LiveView(study, "./x", Console(file=file, width=width), clock) as view:
        feed(view, clock)
    return file.getvalue().splitlines()


def _watch_until(kind: type[BaseException], study: Study, file: io.StringIO) -> None:
    with LiveView(study, "./x", Console(file=file, width=80)) as view:
        view(small_history(study), [])
        raise kind


class TestPlainLines:
    def run_trials(self, values: list[float | None], seconds: float) -> list[str]:
        study = make_study(scheduler=FIFO(max_resource=1), trials=len(values))

        def feed(view: LiveView, clock: Clock) -> None:
            history = study.history()
            for number, value in enumerate(values):
                clock.now += seconds
                start = len(history.facts)
                history.append(Launched(number, 0, 1, params=PARAMS))
                if value is None:
                    history.append(Closed(number, "failed", Failure("exit", "code 3")))
                else:
                    history.append(Reported(number, Report(1, {"accuracy": value})))
                    history.append(Closed(number, "paused"))
                view(history, history.facts[start:])

        return plain_lines(study, feed)

    def test_slow_trials_have_a_line_each(self) -> None:
        lines = self.run_trials([0.5, 0.25, 0.75], seconds=2)
        config = "lr=0.012346  layers=3  act=relu  opt.momentum=0.5"
        assert lines[:3] == [
            f"trial 0 completed at 1  accuracy=0.5  new best  {config}",
            f"trial 1 completed at 1  accuracy=0.25  {config}",
            f"trial 2 completed at 1  accuracy=0.75  new best  {config}",
        ]

    def test_fast_trials_have_one_line_a_second_and_a_line_about_all(self) -> None:
        lines = self.run_trials([0.5] * 640, seconds=1 / 64)
        each = [line for line in lines if line.startswith("trial ")]
        whole = [line for line in lines if "/640 trials" in line]
        assert len(each) <= 10
        assert whole == [
            "320/640 trials  64/s  0:05  0:05 left  320 completed  best 0.5 (trial 0)",
            "640/640 trials  64/s  0:10  0:00 left  640 completed  best 0.5 (trial 0)",
        ]

    def test_segments_of_a_trial_that_are_learnt_of_at_once_have_one_line(self) -> None:
        def feed(view: LiveView, clock: Clock) -> None:
            history = study.history()
            history.append(Launched(0, 0, 1, params=PARAMS))
            for segment, level in enumerate((1, 3)):
                if segment:
                    history.append(Launched(0, segment, level, start=1))
                history.append(Reported(0, Report(level, {"accuracy": 0.5})))
                history.append(Closed(0, "paused"))
            view(history, history.facts)

        study = make_study(trials=1)
        (line,) = (line for line in plain_lines(study, feed) if "new best" in line)
        assert line.startswith("trial 0 paused at 3  accuracy=0.5")

    def test_failures_and_new_bests_always_have_a_line(self) -> None:
        lines = self.run_trials([0.1, None, 0.05, 0.2, None, 0.3], seconds=0.001)
        assert [line.split("  ")[0] for line in lines[:5]] == [
            "trial 0 completed at 1",
            "trial 1 failed at 0",
            "trial 3 completed at 1",
            "trial 4 failed at 0",
            "trial 5 completed at 1",
        ]
        assert lines[1] == "trial 1 failed at 0  exit: code 3"

    def test_ends_with_the_summary(self) -> None:
        study = make_study(trials=5, scheduler=FIFO(max_resource=1))
        lines = plain_lines(study, lambda view, clock: play(study, observe=view) and None)
        assert "digits finished: all 5 trials are done" in lines

    def test_an_interrupt_ends_with_the_summary_and_a_crash_does_not(self) -> None:
        study = make_study()
        for kind, said in ((KeyboardInterrupt, True), (RuntimeError, False)):
            file = io.StringIO()
            with pytest.raises(kind):
                _watch_until(kind, study, file)
            assert ("tuneflow resume ./x" in file.getvalue()) is said

    def test_a_view_that_saw_nothing_prints_nothing(self) -> None:
        assert plain_lines(make_study(), lambda view, clock: None) == []


class TestScreen:
    def test_draws_in_place_and_leaves_the_summary(self) -> None:
        study = make_study()
        file = io.StringIO()
        console = Console(file=file, width=80, force_terminal=True, color_system=None)
        drawn: list[str] = []

        def watch(history: History, facts: list[object]) -> None:
            view(history, facts)  # type: ignore[arg-type]
            if len(history.trials) == 20 and not drawn:
                drawn.extend(shown(view._display.draw()))  # type: ignore[union-attr]

        with LiveView(study, "./x", console) as view:
            play(study, observe=watch)
        assert drawn[0] == "digits  highest accuracy  draw + asha"
        assert "20/30 trials" in drawn[1]
        assert "running" in drawn[2]
        assert drawn[3].startswith("best 0.")
        assert any(line.startswith("rung   results") for line in drawn)
        assert any(line.startswith("trial   state") for line in drawn)
        assert all(len(line) <= 80 for line in drawn)
        assert "digits finished: all 30 trials are done" in file.getvalue()

    def test_observing_costs_little(self) -> None:
        study = make_study(trials=1000, scheduler=FIFO(max_resource=1))
        spent = 0.0

        def observe(history: History, facts: list[object]) -> None:
            nonlocal spent
            began = time.thread_time()
            view(history, facts)  # type: ignore[arg-type]
            spent += time.thread_time() - began

        console = Console(file=io.StringIO(), width=80, force_terminal=True)
        began = time.thread_time()
        with LiveView(study, "./x", console) as view:
            play(study, observe=observe)
        took = time.thread_time() - began
        # An eighth of deciding on, and pretending to run, 1,000 trials of no length.
        assert spent < took / 4


class TestProgress:
    @pytest.mark.parametrize("scheduler", list(schedulers()), ids=lambda s: f"{s.type}-{s.limit}")
    def test_best_at_hand_is_the_historys_at_every_moment(self, scheduler: Scheduler) -> None:
        study = make_study(scheduler=scheduler, trials=40)
        kept: list[Best] = []

        def check(history: History, facts: list[object]) -> None:
            if not kept:
                kept.append(Best(history))
            kept[0].update({f.trial for f in facts if hasattr(f, "trial")})
            assert kept[0].get() is history.best()

        play(study, fails_with_one_layer, observe=check)
        assert kept[0].get() is not None

    def test_a_failed_trial_that_is_tried_again_can_be_best(self) -> None:
        study = make_study()
        file, clock = io.StringIO(), itertools.count()
        with LiveView(study, "./x", Console(file=file, width=80), lambda: next(clock)) as view:
            history = study.history()
            history.append(Launched(0, 0, 1, params=PARAMS))
            history.append(Reported(0, Report(1, {"accuracy": 0.5})))
            history.append(Closed(0, "failed", Failure("exit", "code 1")))
            view(history, list(history.facts))
            history.append(Opened(1, retry_failed=True))
            view(history, history.facts[-1:])
        assert "best: trial 0, accuracy 0.5" in file.getvalue()

    @pytest.mark.parametrize("scheduler", list(schedulers()), ids=lambda s: f"{s.type}-{s.limit}")
    def test_rungs_add_up(self, scheduler: Scheduler) -> None:
        study = make_study(scheduler=scheduler, trials=40)
        played = play(study)
        rungs = rungs_of(study, played.history).rungs
        reached = [t for t in played.history.trials if t.resource >= 27]
        assert [rung.level for rung in rungs] == [1, 3, 9, 27]
        assert rungs[-1].results == len(reached)
        assert -rungs[-1].best == max(t.reports[-1].metrics["accuracy"] for t in reached)
        assert all(rung.went_on <= rung.results for rung in rungs)
        assert math.isfinite(rungs[0].best)

    def test_a_trial_of_dehb_counts_in_its_own_rung_alone(self) -> None:
        # One cycle has 27 + 9 + 3 + 1, 9 + 3 + 1, 6 + 2 and 4 places.
        study = make_study(scheduler=DEHB(max_resource=27), trials=65)
        rungs = rungs_of(study, play(study).history).rungs
        assert [(r.level, r.results) for r in rungs] == [(1, 27), (3, 18), (9, 12), (27, 8)]
        assert not any(rung.went_on for rung in rungs)

    @pytest.mark.parametrize("round_size", [None, "all"])
    @pytest.mark.parametrize("interval", [None, 4])
    def test_a_trial_that_runs_on_begins_at_the_rung_of_its_bracket(
        self, interval: int | None, round_size: Literal["all"] | None
    ) -> None:
        scheduler: Scheduler = ASHA(max_resource=27, variant="stopping", brackets=2)
        if interval is not None:
            scheduler = ResourceChanging(scheduler, total={"gpu": 4}, interval=interval)
        study = make_study(scheduler=scheduler, trials=30, round_size=round_size)
        trials = play(study).history.trials
        rungs = rungs_of(study, play(study).history).rungs
        assert rungs[0].results == sum(trial.bracket == 0 for trial in trials)
        assert 0 < rungs[0].results < 30

    @pytest.mark.parametrize(
        "scheduler",
        [*schedulers(), FIFO(max_resource=5), PBT(max_resource=10), DEHB(max_resource=9)],
    )
    def test_share_done_grows_from_nothing_to_all(self, scheduler: Scheduler) -> None:
        study = make_study(scheduler=scheduler, trials=40)
        shares: list[float | None] = []
        play(study, observe=lambda history, facts: shares.append(share_done(study, history)))
        known = [share for share in shares if share is not None]
        assert len(known) == len(shares)
        assert known[0] == 0.0
        assert known[-1] == 1.0
        assert max(known[:-1]) <= 0.99
        assert 0.15 < known[len(known) // 2] < 0.85
        # Promotions come unannounced, so it may fall a little, never much.
        assert all(after > before - 0.1 for before, after in itertools.pairwise(known))

    def test_share_done_follows_the_budget_that_ends_first(self) -> None:
        study = make_study(trials=1000, budget=Budget(total_resource=4))
        assert share_done(study, small_history(study)) == 0.5

    def test_nothing_says_how_long_a_study_without_a_limit_is(self) -> None:
        study = make_study(
            trials=None, scheduler=FIFO(max_resource=1), budget=Budget(wall_clock=60)
        )
        assert trial_limit(study) is None
        assert share_done(study, study.history()) == 0.0


class TestText:
    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03"), (183845, "2 d 03:04:05")],
    )
    def test_durations(self, seconds: float, said: str) -> None:
        assert text.duration(seconds) == said

    def test_numbers_keep_five_digits(self) -> None:
        given = (None, 3, 0.1 + 0.2, 1e-9, 123456.789)
        assert [text.number(value) for value in given] == ["-", "3", "0.3", "1e-09", "1.2346e+05"]

    def test_long_fields_of_a_scheduler_are_cut_off(self) -> None:
        assert text.plugin({"type": "asha", "max_resource": 9}) == "asha (max_resource=9)"
        steps = [{"until": level, "params": {"lr": 0.1}} for level in range(1, 100)]
        said = text.plugin({"type": "pbt_replay", "schedule": steps})
        assert said.startswith('pbt_replay (schedule=[{"until": 1, "params"')
        assert said.endswith("…)")
        assert len(said) < 230

    def test_objectives_are_named_as_in_the_spec(self) -> None:
        assert text.objective({"import": "train.py:train"}) == "train.py:train"
        assert text.objective({"command": ["python", "t.py"]}) == "python t.py"
        assert text.objective({"ask_tell": True}) == '{"ask_tell": true}'

    def test_failures_that_differ_in_numbers_only_are_one_group(self) -> None:
        played = play(objective=fails_with_one_layer)
        (group,) = text.failure_groups(played.history.trials)
        assert len(group.trials) == played.history.counts[TrialState.FAILED] > 1
