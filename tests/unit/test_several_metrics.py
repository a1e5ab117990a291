"""A study of several metrics and bounds, as people and other tools see it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import tuneflow
from tests.unit.test_report import Parsed
from tuneflow.airflow.stages import stages_of
from tuneflow.cli import main
from tuneflow.cli.documents import best_document, status_document
from tuneflow.convert import rows, to_dataframe, to_optuna
from tuneflow.driving import checked
from tuneflow.errors import SpecError, TrialsFailedError
from tuneflow.events import Closed, Finished, Launched, Opened, Reported
from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.best import best_of
from tuneflow.pipeline.progress import line
from tuneflow.pipeline.stage_result import StageResult
from tuneflow.prefect.pages import best_caption, best_page, summary, trials_json
from tuneflow.remote.orders import Answer
from tuneflow.result import Result
from tuneflow.retune.plan import make_plan, require_one_goal
from tuneflow.schedulers import ASHA, FIFO
from tuneflow.searchers import Random
from tuneflow.space import Float, Space
from tuneflow.study import Study
from tuneflow.testing.searchers import ENDINGS, ending
from tuneflow.trial import Outcome, Report, TrialState
from tuneflow.views.board import Board
from tuneflow.views.front import Front, front_table
from tuneflow.views.html import render
from tuneflow.views.progress import Best
from tuneflow.views.tables import best_panel, status_table, trials_table
from tuneflow.views.terminal import LiveView

RESULTS = [
    {"accuracy": 0.9, "size": 5.0, "ms": 3.0},
    {"accuracy": 0.8, "size": 4.0, "ms": 3.0},
    {"accuracy": 0.7, "size": 6.0, "ms": 3.0},
    {"accuracy": 0.99, "size": 1.0, "ms": 30.0},
    {"accuracy": 0.6},
]
"""Of five trials: the front is 0 and 1; 2 is dominated, 3 breaks a bound, 4 lacks metrics."""


def make_study(**changes) -> Study:
    fields = {
        "name": "two",
        "space": Space({"x": Float(0, 1)}),
        "metric": "accuracy",
        "mode": "max",
        "searcher": Random(),
        "scheduler": FIFO(),
        "trials": 9,
        "other_metrics": {"size": "min"},
        "constraints": ["ms <= 10"],
    }
    return Study(**{**fields, **changes})


def history_of(study: Study, results=RESULTS) -> History:
    history = study.history()
    history.append(Opened(1))
    for number, metrics in enumerate(results):
        history.append(Launched(number, 0, None, params={"x": number / 10}))
        history.append(Reported(number, Report(1, metrics)))
        history.append(Closed(number, "completed" if "size" in metrics else "failed"))
    return history


@pytest.fixture
def opened(tmp_path: Path) -> OpenStudy:
    study = make_study(objective={"function": "train.py:train"})
    opened = OpenStudy.create(study, str(tmp_path))
    opened.history.extend(history_of(study).facts)
    opened.history.append(Finished("enough"))
    opened.commit(opened.history.facts)
    return opened


def shown(view) -> list[str]:
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(view)
    return [text.rstrip() for text in console.export_text().splitlines()]


class TestResult:
    def test_it_has_the_front_the_values_and_who_keeps_the_bounds(self, opened):
        result = Result(opened)
        assert [trial.number for trial in result.pareto_front] == [0, 1]
        assert result.best_trial.number == 0
        assert result.values(result.trials[1]) == {"accuracy": 0.8, "size": 4.0}
        assert result.values(result.trials[4]) == {}
        assert [result.is_feasible(t) for t in result.trials] == [True, True, True, False, False]

    def test_of_one_metric_the_front_is_the_best_trial(self):
        history = history_of(make_study(other_metrics={}))
        assert [trial.number for trial in history.pareto_front()] == [history.best().number] == [0]

    def test_a_study_without_a_feasible_trial_says_how_near_it_came(self, tmp_path):
        with pytest.raises(
            TrialsFailedError, match=r"keeps the bounds y >= 2 \(trial . is nearest"
        ):
            tuneflow.tune(
                lambda config: {"a": config["x"], "b": 1.0, "y": config["x"]},
                space={"x": Float(0, 1)},
                metric=["a", "b"],
                mode=["min", "max"],
                constraints=["y >= 2"],
                searcher="random",
                trials=3,
                storage=tmp_path,
                name="none",
                progress=False,
            )
        result = tuneflow.load(tmp_path / "none")
        assert result.pareto_front == []
        with pytest.raises(TrialsFailedError, match="so there is no best"):
            result.best_trial  # noqa: B018 - reading it is what raises

    def test_a_lone_number_is_the_first_metric_and_not_enough(self, tmp_path):
        with pytest.raises(TrialsFailedError, match="no report has 'b'"):
            tuneflow.tune(
                lambda config: config["x"],
                space={"x": Float(0, 1)},
                metric=["a", "b"],
                mode=["min", "max"],
                searcher="random",
                trials=2,
                storage=tmp_path,
                name="none",
                progress=False,
            )

    def test_of_trials_that_were_stopped_early_it_is_said_what_the_first_one_lacks(self):
        history = history_of(make_study(), [{"accuracy": 0.5}])
        history.trials[0].state = TrialState.STOPPED
        result = SimpleNamespace(
            history=history, study=make_study(), url="./two", trials=history.trials, failed=[]
        )
        with pytest.raises(TrialsFailedError, match=r"trial 0: accuracy is 0\.5, size is missing$"):
            checked(result)

    def test_ask_and_tell_takes_several(self, tmp_path):
        study = tuneflow.create_study(
            space={"x": Float(0, 1)},
            metric=["a", "b"],
            mode=["min", "min"],
            constraints=["c <= 0"],
            trials=6,
            storage=tmp_path,
            name="told",
        )
        while (trial := study.ask()) is not None:
            with pytest.raises(SpecError, match="the metric 'b' is not among what was told"):
                study.tell(trial, {"a": 0.5})
            x = trial.params["x"]
            study.tell(trial, {"a": x, "b": 1 - x, "c": x - 0.9})
        feasible = [trial.number for trial in study.result.trials if trial.params["x"] <= 0.9]
        assert [trial.number for trial in study.result.pareto_front] == feasible


class TestTables:
    def test_rows_say_what_is_in_the_front_and_what_keeps_the_bounds(self):
        study = make_study()
        table = rows(study, history_of(study))
        assert [row["front"] for row in table] == [True, True, False, False, False]
        assert [row["feasible"] for row in table] == [True, True, True, False, False]
        frame = to_dataframe(study, history_of(study))
        assert list(frame.loc[frame["front"], "metrics.size"]) == [5.0, 4.0]

    def test_a_study_of_one_metric_has_the_columns_it_always_had(self):
        study = make_study(other_metrics={}, constraints=[])
        (row, *_) = rows(study, history_of(study))
        assert not {"front", "feasible"} & set(row)

    def test_the_terminal_shows_all_metrics(self):
        study = make_study()
        history = history_of(study)
        status = shown(status_table(study, history))
        assert "goal       highest accuracy, lowest size, where ms <= 10" in status
        assert "best       accuracy 0.9, size 5  trial 0 at 1  x=0" in status
        assert "front      2 trials  0, 1" in status
        title, head, _, *body = (text.split() for text in shown(front_table(study, history)))
        assert title == ["Pareto", "front:", "2", "trials"]
        assert head == ["trial", "accuracy", "↑", "size", "↓", "at", "configuration"]
        assert body == [["0", "0.9", "5", "1", "x=0"], ["1", "0.8", "4", "1", "x=0.1"]]
        assert (
            shown(front_table(study, history, most=1))[0]
            == "Pareto front: 2 trials, 1 of them here"
        )
        assert front_table(make_study(other_metrics={}), history) is None
        assert front_table(study, study.history()) is None
        assert shown(best_panel(study, history))[0].startswith(
            "╭─ best: trial 0, accuracy 0.9, size 5"
        )

    def test_the_terminal_says_of_each_trial_whether_it_keeps_the_bounds(self):
        study = make_study()
        lines = [text.split() for text in shown(trials_table(study, history_of(study)))[2:]]
        assert [(cells[3:6]) for cells in lines] == [
            ["0.9", "5", "kept"],
            ["0.8", "4", "kept"],
            ["0.7", "6", "kept"],
            ["0.99", "1", "broken"],
            ["-", "-", "-"],
        ]

    def test_plain_lines_have_all_metrics(self):
        study, file = make_study(), io.StringIO()
        with LiveView(study, "./two", Console(file=file, width=200)) as view:
            view(history_of(study), history_of(study).facts)
        assert "trial 0 completed at 1  accuracy=0.9  size=5  new best" in file.getvalue()
        assert "Pareto front: 2 trials" in file.getvalue()

    def test_documents_have_the_front(self, opened):
        document = best_document(opened)
        assert (document["trial"], document["value"]) == (0, 0.9)
        assert document["values"] == {"accuracy": 0.9, "size": 5.0}
        assert [one["trial"] for one in document["front"]] == [0, 1]
        status = status_document(opened)
        assert (status["metric"], status["mode"]) == (["accuracy", "size"], ["max", "min"])
        assert status["constraints"] == ["ms <= 10"]

    @pytest.mark.parametrize(
        ("sort", "expected"), [("value", [0, 1, 2, 3]), ("-value", [3, 2, 1, 0])]
    )
    def test_by_value_those_that_break_a_bound_come_after_those_that_keep_them(
        self, opened, capsys, sort, expected
    ):
        options = ("--json", "--state", "completed", "--sort", sort)
        assert main(["trials", opened.url, *options]) == 0
        assert [row["trial"] for row in json.loads(capsys.readouterr().out)] == expected


class TestKeptAtHand:
    @given(
        st.lists(
            st.tuples(st.sampled_from(ENDINGS), *[st.integers(0, 3) for _ in range(3)]),
            max_size=16,
        ),
        st.data(),
    )
    @settings(max_examples=120, deadline=None)
    def test_front_and_best_agree_with_the_history_after_each_fact(self, trials, data):
        history = History("loss", "min", other_metrics={"size": "max"}, constraints=["cost <= 2"])
        front, best = Front(history), Best(history)
        front.get()

        def append(fact):
            history.append(fact)
            front.update([fact.trial])
            best.update([fact.trial])
            assert best.get() is history.best()
            if data.draw(st.booleans()):
                assert front.get() == history.pareto_front()

        for number, (how, loss, size, cost) in enumerate(trials):
            append(Launched(number, 0, None, params={}))
            for fact in ending(how, number, float(loss), size=float(size), cost=float(cost)):
                append(fact)
        for number in list(history.running):
            append(Reported(number, Report(9, {"loss": 1.0, "size": 1.0, "cost": 1.0})))
        assert front.get() == history.pareto_front()

    def test_the_live_view_keeps_it(self):
        study = make_study()
        history = history_of(study)
        board = Board(study, history, 0, lambda: 1.0)
        assert [trial.number for trial in board.front.get()] == [0, 1]


class TestOptuna:
    def test_its_study_has_all_directions_and_the_same_front(self):
        study = make_study()
        found = to_optuna(study, history_of(study))
        assert [one.name for one in found.directions] == ["MAXIMIZE", "MINIMIZE"]
        assert [trial.number for trial in found.best_trials] == [0, 1]
        assert found.trials[3].system_attrs["constraints"] == [20.0]
        assert found.trials[0].values == [0.9, 5.0]
        assert optuna.visualization.plot_pareto_front(found).data

    def test_a_stopped_trial_counts_with_what_it_had(self):
        study = make_study(constraints=[])
        history = study.history()
        history.append(Launched(0, 0, None, params={"x": 0.5}))
        history.append(Reported(0, Report(1, RESULTS[0])))
        history.append(Closed(0, "stopped"))
        assert to_optuna(study, history).trials[0].values == [0.9, 5.0]

    def test_a_trial_that_leaves_a_bound_open_is_not_feasible(self):
        study = make_study()
        history = history_of(study, [{"accuracy": 0.9, "size": 5.0}, RESULTS[1]])
        assert [trial.number for trial in to_optuna(study, history).best_trials] == [1]

    def test_it_goes_to_a_storage(self, tmp_path):
        study, url = make_study(), f"sqlite:///{tmp_path / 'x.db'}"
        to_optuna(study, history_of(study), storage=url)
        loaded = optuna.load_study(study_name="two", storage=url)
        assert [trial.number for trial in loaded.best_trials] == [0, 1]

    def test_constraints_of_a_study_of_one_metric_go_too(self):
        study = make_study(other_metrics={})
        found = to_optuna(study, history_of(study))
        assert found.best_trial.number == 0


NAMES = ("accuracy", "</script><b>size</b>", "c", "d")


class TestReport:
    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_it_draws_and_lists_the_front(self, count):
        study = make_study(metric=NAMES[0], other_metrics=dict.fromkeys(NAMES[1:count], "min"))
        results = [
            {
                **dict(zip(NAMES, (one.get("accuracy", 0.0), 9.0 - n, n + 1.0, 1.0), strict=True)),
                "ms": one.get("ms", 1.0),
            }
            for n, one in enumerate(RESULTS)
        ]
        history = history_of(study, [{**one, "size": 1.0} for one in results])
        page = render(study, history, "./two")
        parsed = Parsed(page)
        assert "Pareto front" in parsed.text
        assert "</script><b>size</b>" in parsed.text
        assert "<b>size</b>" not in page
        figure = json.loads(parsed.data["pareto-data"])
        kinds = {trace["type"] for trace in figure["data"]}
        assert kinds == {"scatter"}
        assert "bounds" in parsed.text

    def test_every_kind_of_trial_is_drawn_in_its_own_way(self):
        study = make_study()
        page = Parsed(render(study, history_of(study), "./two"))
        figure = json.loads(page.data["pareto-data"])
        drawn = {trace["name"]: trace["x"] for trace in figure["data"] if "name" in trace}
        assert drawn == {"break a bound": [0.99], "others": [0.7], "Pareto front": [0.9, 0.8]}
        assert "No trial that keeps the bounds betters one of the front" in page.text

    def test_a_study_without_trials_has_a_report(self):
        page = Parsed(render(make_study(), make_study().history(), "./two"))
        assert "No trial has a finite value of each metric yet." in page.text

    def test_the_best_so_far_keeps_the_bounds(self):
        study = make_study(other_metrics={})
        page = Parsed(render(study, history_of(study), "./two"))
        (best,) = [
            trace
            for trace in json.loads(page.data["history-data"])["data"]
            if trace["name"] == "best so far"
        ]
        assert set(best["y"]) == {0.9}


class TestPipelines:
    def test_the_best_carries_the_front(self, opened):
        best = best_of(opened)
        assert best["values"] == {"accuracy": 0.9, "size": 5.0}
        assert [one["trial"] for one in best["front"]] == [0, 1]
        assert json.loads(json.dumps(best)) == best
        assert summary(best, None) == "Finished: best accuracy 0.9 (trial 0)"

    def test_lines_and_tables_have_all_metrics(self):
        study = make_study()
        history = history_of(study)
        said = line(study, history)
        assert said.endswith("best accuracy 0.9, size 5 (trial 0), front of 2")
        closed = tuple(fact for fact in history.facts if isinstance(fact, Closed))
        table = StageResult(study, history, closed, ()).table().splitlines()
        assert table[0].split()[:5] == ["trial", "accuracy", "size", "at", "bounds"]
        assert [row.split()[4] for row in table[1:5]] == ["broken", "kept", "kept", "kept"]

    def test_the_pages_of_prefect_have_the_front(self):
        study = make_study()
        history = history_of(study)
        page = best_page(study, history, "./two")
        assert (
            "**accuracy 0.9, size 5**, the highest accuracy of 5 within bounds: trial 0 at 1"
            in page
        )
        assert "## Pareto front: 2 trials" in page
        assert best_caption(study, history) == "accuracy 0.9, size 5 (trial 0); front of 2 trials"
        first, *_, broken, _ = json.loads(trials_json(study, history))
        assert (first["accuracy"], first["size"], first["bounds"]) == (0.9, 5.0, "kept")
        assert (broken["accuracy"], broken["bounds"]) == (0.99, "broken")

    def test_a_worker_answers_with_all_metrics(self):
        reports = (Report(1, {"accuracy": 0.5, "size": 2.0}), Report(2, {"accuracy": 0.6}))
        answer = Answer.of(Outcome(0, 0, "completed", reports), "accuracy")
        assert (answer.value, answer.others) == (0.6, {"size": 2.0})
        assert Answer.from_json(json.loads(json.dumps(answer.to_json()))) == answer

    def test_a_dag_has_as_many_stages_as_with_one_metric(self):
        scheduler = ASHA(max_resource=9, reduction_factor=3)
        two = make_study(scheduler=scheduler, round_size="all")
        one = make_study(scheduler=scheduler, round_size="all", other_metrics={}, constraints=[])
        assert stages_of(two) == stages_of(one)


class TestRetuning:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"metric": ["a", "b"], "mode": ["max", "min"]}, "metric"),
            ({"constraints": ["b <= 1"]}, "constraints"),
        ],
    )
    def test_it_is_refused(self, changes, field):
        spec = {
            "objective": {"command": ["true"]},
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "metric": "a",
            "mode": "max",
            "trials": 2,
            **changes,
        }
        with pytest.raises(SpecError, match=f"^{field}: a retune"):
            make_plan(spec, {})

    def test_so_is_a_study_to_begin_with(self):
        problem = r"a retune compares one metric, and \./two has 2; begin anew under another name"
        with pytest.raises(SpecError, match=problem):
            require_one_goal(make_study(), "./two")
