"""The HTML report, as far as it can be judged without a browser."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.example_studies import BEGAN, accuracy, make_study, play
from tuneflow.errors import StorageError
from tuneflow.events import Launched, Reported
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import write_outcome
from tuneflow.schedulers.fifo import FIFO
from tuneflow.space import Float, Space
from tuneflow.trial import Outcome, Params, Report, TrialState, outcome_path
from tuneflow.views import report_tables
from tuneflow.views.curves import MOST_CURVES, learning_curves, optimisation_history
from tuneflow.views.html import read_outcomes, render, write_report
from tuneflow.views.parameters import MOST_LINES, importance, parallel_coordinates
from tuneflow.views.theme import clipped_range, labels, sample, script_safe
from tuneflow.views.timeline import layout, running_time, timeline


class Parsed(HTMLParser):
    """Collects the tags, the attributes that load something, and the text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.data: dict[str, str] = {}
        self.text = ""
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset") and v]
        if tag in ("script", "style"):
            self._script = found.get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        elif self._script:
            self.data[self._script] = data


def fails_with_one_layer(params: Params, level: int) -> float:
    if params["layers"] == 1:
        raise ValueError("one layer is too few")
    return accuracy(params, level)


def points(figure: Any) -> int:
    """Return how many points or bars a figure draws."""
    return sum(sum(x is not None for x in trace.x) for trace in figure.plot.data)


class TestPage:
    def test_holds_everything_and_loads_nothing(self) -> None:
        played = play(objective=fails_with_one_layer)
        page = Parsed(render(played.study, played.history, "./x", played.outcomes))
        assert page.sources == []
        assert not {"link", "img", "iframe", "object"} & set(page.tags)
        assert page.tags.count("h1") == 1
        figures = ["curves", "history", "importance", "parallel", "timeline"]
        assert sorted(page.data) == [f"{name}-data" for name in figures]
        for data in page.data.values():
            assert json.loads(data)["data"]

    def test_policy_lets_only_the_two_scripts_of_the_page_run(self) -> None:
        study = make_study()
        page = render(study, study.history(), "./x")
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
        assert policy.startswith("default-src 'none';")
        (scripts,) = re.findall(r"script-src ([^;]*);", policy)
        assert [source[:7] for source in scripts.split()] == ["'sha256", "'sha256", "'unsafe"]
        assert "'unsafe-inline'" not in scripts

    def test_says_what_the_study_is_and_what_it_found(self) -> None:
        played = play(objective=fails_with_one_layer)
        page = Parsed(render(played.study, played.history, "./x", played.outcomes)).text
        best = played.history.best()
        assert best is not None
        for said in (
            "digits",
            "all 30 trials are done",
            "highest accuracy",
            "train.py:train",
            "asha (max_resource=27, reduction_factor=3)",
            f"Trial {best.number}: accuracy",
            f'"lr": {best.params["lr"]}',
            "ValueError: one layer is too few",
            "Traceback …",
            "tuneflow logs ./x",
        ):
            assert said in " ".join(page.split()), said

    def test_is_the_same_every_time(self) -> None:
        played = play()
        first = render(played.study, played.history, "./x", played.outcomes)
        assert render(played.study, played.history, "./x", played.outcomes) == first

    @pytest.mark.parametrize("name", ["</script><b>", "<img src=x>", '"><svg onload=x>', "{{ 7 }}"])
    def test_what_users_typed_is_text(self, name: str) -> None:
        study = make_study(
            name=name,
            metric="accuracy",
            space=Space({name: Float(0.0, 1.0)}),
            scheduler=FIFO(max_resource=3),
            objective={"command": [name]},
        )
        plain = make_study(space=Space({"x": Float(0.0, 1.0)}), scheduler=FIFO(max_resource=3))

        def objective(params: Params, level: int) -> float:
            if params[next(iter(params))] > 0.8:
                raise RuntimeError(name)
            return level / 10

        def tags(which: Any) -> list[str]:
            played = play(which, objective)
            return Parsed(render(which, played.history, which.name, played.outcomes)).tags

        assert tags(study) == tags(plain)

    def test_a_study_of_one_trial_that_runs(self) -> None:
        study = make_study()
        history = study.history()
        history.append(Launched(0, 0, 1, params={"lr": 0.1}))
        page = Parsed(render(study, history, "./x"))
        assert page.data == {}
        assert "No trial yet has a finite accuracy." in page.text

    def test_a_large_study_shows_a_part_and_says_which(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(report_tables, "MOST_ROWS", 20)
        played = play(objective=fails_with_one_layer)
        page = Parsed(render(played.study, played.history, "./x", played.outcomes))
        assert page.tags.count("tr") == 21
        assert "The best 20 of 30 trials" in page.text
        assert played.history.counts[TrialState.FAILED] > 2
        assert "tuneflow trials ./x --csv" in page.text


class TestFile:
    @pytest.fixture
    def opened(self, tmp_path: Path) -> OpenStudy:
        played = play(objective=fails_with_one_layer)
        opened = OpenStudy.create(played.study, str(tmp_path / "results"))
        opened.history.extend(played.history.facts)
        opened.commit(opened.history.facts)
        for outcome in played.outcomes:
            write_outcome(opened.store, outcome)
        return opened

    def test_is_written_whole_into_a_new_folder(self, opened: OpenStudy, tmp_path: Path) -> None:
        path = write_report(opened, tmp_path / "out" / "report.html")
        assert path.read_text().rstrip().endswith("</html>")
        assert [file.name for file in path.parent.iterdir()] == ["report.html"]
        assert Parsed(path.read_text()).data["timeline-data"]

    def test_does_without_outcomes_that_are_missing_or_broken(
        self, opened: OpenStudy, tmp_path: Path
    ) -> None:
        every = len(read_outcomes(opened))
        opened.store.delete([outcome_path(0, 0)])
        opened.store.put(outcome_path(1, 0), b"{ torn")
        assert len(read_outcomes(opened)) == every - 2
        page = Parsed(write_report(opened, tmp_path / "report.html").read_text())
        assert f"{every - 2} of {every} segments are drawn" in page.text

    def test_a_place_that_cannot_be_written_is_one_clear_error(
        self, opened: OpenStudy, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"report\.html cannot be written"):
            write_report(opened, tmp_path / "file" / "report.html")


class TestFigures:
    def test_history_draws_each_value_and_the_best_so_far(self) -> None:
        played = play(objective=fails_with_one_layer)
        plot = optimisation_history(played.study, played.history).plot
        assert plot is not None
        best = plot.data[-1]
        assert best.name == "best so far"
        assert list(best.y) == sorted(best.y)
        assert best.y[-1] == pytest.approx(-played.history.trial_loss(played.history.best()))
        assert {trace.name for trace in plot.data[:-1]} == {"completed", "stopped"}

    def test_curves_mark_the_rungs_and_the_best(self) -> None:
        played = play()
        figure = learning_curves(played.study, played.history)
        assert figure.plot is not None
        assert list(figure.plot.layout.xaxis.tickvals) == [1, 3, 9, 27]
        assert figure.plot.layout.xaxis.type == "log"
        best = played.history.best()
        assert best is not None
        assert figure.plot.data[-1].name == f"best (trial {best.number})"
        assert list(figure.plot.data[-1].x[:27]) == list(range(1, 28))

    def test_curves_of_a_large_study_are_thinned_and_say_so(self) -> None:
        study = make_study(trials=400, scheduler=FIFO(max_resource=300))
        history = study.history()
        for number in range(400):
            history.append(Launched(number, 0, 300, params={"lr": 0.1}))
            for level in range(1, 301):
                history.append(Reported(number, Report(level, {"accuracy": number + level})))
        figure = learning_curves(study, history)
        assert points(figure) <= MOST_CURVES * 100
        assert figure.notes[0] == (
            "120 of 400 curves are drawn: the 60 best, and an even sample of the others."
        )
        assert figure.plot is not None
        assert figure.plot.data[-1].name == "best (trial 399)"

    def test_curves_of_trials_with_one_report_are_a_sentence(self) -> None:
        played = play(make_study(scheduler=FIFO(max_resource=1)))
        figure = learning_curves(played.study, played.history)
        assert figure.plot is None
        assert figure.notes == ("No trial has reported more than once yet.",)

    def test_values_that_are_not_finite_are_left_out(self) -> None:
        study = make_study(trials=3, scheduler=FIFO(max_resource=3))
        played = play(study, lambda params, level: math.nan if level == 2 else level / 4)
        figure = learning_curves(study, played.history)
        assert figure.plot is not None
        assert 2 not in figure.plot.data[-1].x

    def test_parallel_coordinates_draw_a_bounded_number_of_lines(self) -> None:
        played = play(make_study(trials=300, scheduler=FIFO(max_resource=1)))
        figure = parallel_coordinates(played.study, played.history)
        assert figure.plot is not None
        assert len(figure.plot.data) == MOST_LINES + 1
        assert "200 of 300 trials are drawn" in figure.notes[1]
        assert list(figure.plot.layout.xaxis.ticktext) == [
            "accuracy",
            "act",
            "layers",
            "lr",
            "opt.momentum",
        ]

    def test_importance_compares_trials_at_one_level(self) -> None:
        played = play(make_study(trials=60))
        figure = importance(played.study, played.history)
        assert figure.plot is not None
        (bars,) = figure.plot.data
        assert sum(bars.x) == pytest.approx(1.0)
        assert set(bars.y[-2:]) == {"lr", "layers"}
        assert re.fullmatch(r"PED-ANOVA over the \d+ trials .* at level 3\.", figure.notes[0])

    def test_importance_of_few_trials_is_a_sentence(self) -> None:
        played = play(make_study(trials=5))
        figure = importance(played.study, played.history)
        assert figure.plot is None
        assert figure.notes == (
            "This needs 10 trials with a value at the same level; there are 5.",
        )


def segment(trial: int, worker: str, started: float, ended: float) -> Outcome:
    return Outcome(trial, 0, "completed", (), None, BEGAN + started, BEGAN + ended, worker)


class TestTimeline:
    def test_has_a_row_for_each_slot_of_a_worker(self) -> None:
        outcomes = [
            segment(0, "tcp://b:1", 0, 10),
            segment(1, "tcp://b:1", 5, 20),
            segment(2, "tcp://b:1", 10, 15),
            segment(3, "tcp://a:1", 1, 2),
        ]
        bars, cut = layout(outcomes)
        assert [(bar.row, bar.start, bar.length) for bar in bars] == [
            ("a:1", 1.0, 1.0),
            ("b:1 · 1", 0.0, 10.0),
            ("b:1 · 1", 10.0, 5.0),
            ("b:1 · 2", 5.0, 15.0),
        ]
        assert cut == []

    def test_cuts_out_long_pauses(self) -> None:
        outcomes = [segment(0, "w", 0, 10), segment(1, "w", 86400, 86410)]
        bars, cut = layout(outcomes)
        assert [bar.start for bar in bars] == [0.0, 10.0]
        assert cut == [86390.0]
        assert running_time(outcomes) == 20.0

    def test_colours_say_what_became_of_the_trial(self) -> None:
        played = play(objective=fails_with_one_layer)
        figure = timeline(played.history, played.outcomes)
        assert figure.plot is not None
        drawn = {trace.name: len(trace.y) for trace in figure.plot.data}
        counts = played.history.counts
        assert drawn["completed"] == counts[TrialState.COMPLETED]
        assert drawn["failed"] == counts[TrialState.FAILED]
        assert drawn["stopped"] == counts[TrialState.STOPPED]
        assert drawn["went on"] == len(played.outcomes) - len(played.history.trials)

    def test_without_outcomes_is_a_sentence(self) -> None:
        study = make_study()
        assert timeline(study.history(), []).notes == ("No segment has left its times yet.",)


class TestTheme:
    def test_sample_keeps_both_ends(self) -> None:
        assert sample(range(100), 5) == [0, 25, 50, 74, 99]
        assert sample([1, 2], 5) == [1, 2]

    def test_a_few_diverged_values_do_not_hide_the_others(self) -> None:
        values = [0.1 * step for step in range(1, 20)]
        shown = clipped_range([*values, 1e9], "min")
        assert shown is not None
        assert shown[0] < 0.1
        assert 1.8 < shown[1] < 4
        assert clipped_range(values, "min") is None
        assert clipped_range([*values, 1e9], "max") is None

    def test_labels_are_short_safe_and_distinct(self) -> None:
        names = ["<b>x</b>", "a" * 30 + "1" + "b" * 30, "a" * 30 + "2" + "b" * 30]
        made = labels(names, 11)
        assert len(set(made.values())) == 3
        assert "<" not in "".join(made.values())
        assert made[names[1]] == "aaaaa…bbbbb"

    def test_json_cannot_leave_its_script_element(self) -> None:
        hostile = json.dumps({"name": "</script><!--&\u2028'"}, ensure_ascii=False)
        made = script_safe(hostile)
        assert not set("<>&'\u2028") & set(made)
        assert json.loads(made) == json.loads(hostile)
