"""Trials in the forms of other tools."""

from __future__ import annotations

import csv
import json
import math
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as State

from tests.example_studies import BEGAN, accuracy, make_study, play
from tuneflow.convert import (
    flatten,
    rows,
    to_dataframe,
    to_optuna,
    trial_value,
    write_csv,
    write_parquet,
)
from tuneflow.errors import StorageError, StudyExistsError
from tuneflow.events import Closed, Launched, Reported
from tuneflow.history import History
from tuneflow.schedulers.fifo import FIFO
from tuneflow.space import Categorical, Float, Int, Normal, Space, branch
from tuneflow.study import Study
from tuneflow.trial import Failure, Params, Report


def history_of(study: Study, *values: float | None, params: Params | None = None) -> History:
    """Return a history with a trial for each value, completed at once; None is a failure."""
    history = study.history()
    for number, value in enumerate(values):
        given = params or {"lr": 0.01, "layers": 2, "act": "relu", "opt": {"momentum": 0.5}}
        history.append(Launched(number, 0, None, params=given))
        if value is None:
            failure = Failure("ValueError", "no such act")
            history.append(Closed(number, "failed", failure))
        else:
            history.append(Reported(number, Report(1, {"accuracy": value})))
            history.append(Closed(number, "completed"))
    return history


def fails_with_one_layer(params: Params, level: int) -> float:
    if params["layers"] == 1:
        raise ValueError("one layer is too few")
    return accuracy(params, level)


class TestRows:
    def test_has_one_flat_row_for_each_trial(self) -> None:
        played = play()
        table = rows(played.study, played.history)
        best = played.history.best()
        assert best is not None
        row = table[best.number]
        assert [row["trial"] for row in table] == list(range(30))
        assert row["value"] == trial_value(played.history, best)
        assert row["state"] == "completed"
        assert row["resource"] == 27
        assert row["reports"] == 27
        assert row["segments"] == 4
        assert row["checkpoint"] == f"trials/{best.number:06d}/checkpoints/0003-27.json"
        assert row["params.opt.momentum"] == best.params["opt"]["momentum"]
        assert row["metrics.loss"] == pytest.approx(1 - row["value"])

    def test_is_json_even_with_non_finite_metrics(self) -> None:
        study = make_study()
        table = rows(study, history_of(study, math.nan, -math.inf))
        assert json.loads(json.dumps(table, allow_nan=False)) == table
        assert [row["metrics.accuracy"] for row in table] == ["NaN", "-Infinity"]
        assert [row["value"] for row in table] == [None, None]

    def test_says_why_a_trial_failed_or_was_stopped(self) -> None:
        played = play(objective=fails_with_one_layer)
        table = rows(played.study, played.history)
        failed = [row for row in table if row["state"] == "failed"]
        assert failed[0]["failure"] == "ValueError: one layer is too few"
        stopped = next(row for row in table if row["state"] == "stopped")
        assert stopped["reason"] == "all 30 trials are done"

    def test_value_is_the_newest_usable_one(self) -> None:
        study = make_study()
        history = study.history()
        history.append(Launched(0, 0, None, params={}))
        for level, value in enumerate([0.9, 0.4, math.nan], start=1):
            history.append(Reported(0, Report(level, {"accuracy": value})))
        assert trial_value(history, history.trials[0]) == 0.4

    def test_flattens_nested_parameters_and_keeps_empty_mappings(self) -> None:
        assert flatten({"a": {"b": {"c": 1}}, "d": [{"e": 2}], "f": {}}) == {
            "a.b.c": 1,
            "d": [{"e": 2}],
            "f": {},
        }


class TestTables:
    def test_csv_has_every_column_and_writes_lists_as_json(self, tmp_path: Path) -> None:
        study = make_study()
        history = history_of(study, 0.5, params={"sizes": [1, 2], "flag": True, "name": 'a "b", c'})
        write_csv(study, history, tmp_path / "new" / "trials.csv")
        with (tmp_path / "new" / "trials.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["params.sizes"] == "[1, 2]"
        assert row["params.flag"] == "true"
        assert row["params.name"] == 'a "b", c'
        assert row["failure"] == ""
        assert list(row)[-1] == "metrics.accuracy"

    def test_csv_of_a_study_without_trials_has_a_header(self, tmp_path: Path) -> None:
        study = make_study()
        write_csv(study, study.history(), tmp_path / "trials.csv")
        assert (tmp_path / "trials.csv").read_text().startswith("trial,state,value,resource")

    def test_dataframe_has_metrics_as_floats_with_nan_and_infinity(self) -> None:
        study = make_study()
        frame = to_dataframe(study, history_of(study, 0.5, math.inf, math.nan, None))
        metrics = frame["metrics.accuracy"]
        assert metrics.dtype == float
        assert metrics[0] == 0.5
        assert math.isinf(metrics[1])
        assert metrics[2:].isna().all()
        assert frame["value"].isna().tolist() == [False, True, True, True]

    def test_dataframe_of_a_study_without_trials_has_the_columns(self) -> None:
        study = make_study()
        frame = to_dataframe(study, study.history())
        assert len(frame) == 0
        assert {"trial", "value", "failure"} <= set(frame.columns)

    def test_parquet_comes_back_with_mixed_choices_as_json(self, tmp_path: Path) -> None:
        study = make_study()
        history = study.history()
        for number, choice in enumerate([1, "auto", None, [1, 2]]):
            history.append(Launched(number, 0, None, params={"x": choice, "lr": 0.1 * number}))
        write_parquet(study, history, tmp_path / "trials.parquet")
        frame = pd.read_parquet(tmp_path / "trials.parquet")
        assert frame["params.x"].dropna().tolist() == ["1", '"auto"', "[1, 2]"]
        assert frame["params.x"].isna().tolist() == [False, False, True, False]
        assert frame["params.lr"].tolist() == [0.0, 0.1, 0.2, pytest.approx(0.3)]

    def test_parquet_keeps_texts_that_some_trials_lack(self, tmp_path: Path) -> None:
        study = make_study()
        history = study.history()
        history.append(Launched(0, 0, None, params={"act": "relu"}))
        history.append(Launched(1, 0, None, params={}))
        write_parquet(study, history, tmp_path / "trials.parquet")
        frame = pd.read_parquet(tmp_path / "trials.parquet")
        assert frame["params.act"].dropna().tolist() == ["relu"]

    def test_a_folder_that_cannot_be_made_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        study = make_study()
        with pytest.raises(StorageError, match="cannot be written"):
            write_csv(study, study.history(), tmp_path / "file" / "trials.csv")


class TestOptuna:
    def test_states_values_and_reports_become_optunas(self) -> None:
        played = play(objective=fails_with_one_layer, segments=25)
        history = played.history
        found = to_optuna(played.study, history)
        expected = {
            "running": State.RUNNING,
            "paused": State.PRUNED,
            "stopped": State.PRUNED,
            "completed": State.COMPLETE,
            "failed": State.FAIL,
        }
        assert [t.state for t in found.trials] == [expected[t.state] for t in history.trials]
        paused = next(t for t in history.trials if t.state == "paused")
        made = found.trials[paused.number]
        assert made.value == trial_value(history, paused)
        assert made.intermediate_values == {
            report.resource: report.metrics["accuracy"] for report in paused.reports
        }
        failed = next(t for t in history.trials if t.state == "failed")
        assert found.trials[failed.number].user_attrs["failure"].startswith("ValueError")

    def test_best_of_a_finished_study_is_ours(self) -> None:
        played = play(make_study(scheduler=FIFO(max_resource=3)))
        best = played.history.best()
        assert best is not None
        found = to_optuna(played.study, played.history)
        assert found.direction.name == "MAXIMIZE"
        assert found.best_trial.number == best.number
        assert found.best_trial.params == {
            "lr": best.params["lr"],
            "layers": best.params["layers"],
            "act": best.params["act"],
            "opt.momentum": best.params["opt"]["momentum"],
        }
        assert found.best_trial.user_attrs["params"] == {"opt.seed": 7}

    def test_domains_become_distributions(self) -> None:
        space = Space(
            {
                "lr": Float(1e-4, 0.1, log=True),
                "drop": Float(0.0, 0.95, step=0.25),
                "q": Float(0.1, 1.0, q=0.25),
                "k": Int(1, 8, step=3),
                "units": Int(2, 64, log=True),
                "free": Normal(0.0, 1.0),
                "model": branch({"svm": {"C": Float(0.1, 10)}, "tree": {}}),
            }
        )
        study = make_study(space=space, scheduler=FIFO(max_resource=1), trials=20)
        played = play(study, lambda params, level: params["lr"])
        trials = to_optuna(study, played.history).trials
        svm = next(t for t in trials if t.params["model"] == "svm")
        tree = next(t for t in trials if t.params["model"] == "tree")
        free = [t.params["free"] for t in trials]
        assert svm.distributions == {
            "lr": FloatDistribution(1e-4, 0.1, log=True),
            "drop": FloatDistribution(0.0, 0.75, step=0.25),
            "q": FloatDistribution(0.25, 1.0, step=0.25),
            "k": IntDistribution(1, 7, step=3),
            "units": IntDistribution(2, 64, log=True),
            "free": FloatDistribution(min(free), max(free)),
            "model": CategoricalDistribution(("svm", "tree")),
            "model.svm.C": FloatDistribution(0.1, 10.0),
        }
        assert "model.svm.C" not in tree.params

    def test_choices_that_optuna_cannot_tell_apart_become_json(self) -> None:
        space = Space({"x": Categorical((True, 1, 1.0, None, [1, 2], {"a": 1}))})
        study = make_study(space=space, scheduler=FIFO(max_resource=1), trials=40)
        played = play(study, lambda params, level: 0.5)
        found = to_optuna(study, played.history)
        assert found.trials[0].distributions["x"].choices == (
            "true",
            "1",
            "1.0",
            "null",
            "[1, 2]",
            '{"a": 1}',
        )
        for trial, made in zip(played.history.trials, found.trials, strict=True):
            assert json.loads(made.params["x"]) == trial.params["x"]

    def test_a_configuration_outside_the_space_is_kept_as_an_attribute(self) -> None:
        study = make_study()
        found = to_optuna(study, history_of(study, 0.5, params={"other": 1}))
        assert found.trials[0].params == {}
        assert found.trials[0].user_attrs["params"] == {"other": 1}

    def test_fractional_levels_become_numbers_of_reports(self) -> None:
        study = make_study()
        history = study.history()
        history.append(Launched(0, 0, None, params={}))
        for level in (0.25, 0.5, 1):
            history.append(Reported(0, Report(level, {"accuracy": level / 2})))
        (trial,) = to_optuna(study, history).trials
        assert trial.intermediate_values == {1: 0.125, 2: 0.25, 3: 0.5}
        assert trial.user_attrs["resources"] == [0.25, 0.5, 1]

    def test_outcomes_give_the_times(self) -> None:
        played = play()
        found = to_optuna(played.study, played.history, outcomes=played.outcomes)
        first = found.trials[0]
        assert first.datetime_start == datetime.fromtimestamp(BEGAN)  # noqa: DTZ006
        assert first.datetime_complete is not None
        assert first.datetime_complete > first.datetime_start

    def test_writes_to_a_storage_that_optuna_loads(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'x.db'}"
        played = play(objective=fails_with_one_layer)
        to_optuna(played.study, played.history, url, name="mine")
        loaded = optuna.load_study(study_name="mine", storage=url)
        assert len(loaded.trials) == 30
        assert loaded.best_value == trial_value(played.history, played.history.trials[29])
        assert loaded.user_attrs["tuneflow"]["metric"] == "accuracy"

    def test_a_name_that_is_taken_is_one_clear_error(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'x.db'}"
        study = make_study()
        to_optuna(study, study.history(), url)
        with pytest.raises(StudyExistsError, match="'digits' already; give another name"):
            to_optuna(study, study.history(), url)

    def test_a_storage_that_cannot_be_used_does_not_give_away_its_password(self) -> None:
        study = make_study()
        with pytest.raises(StorageError) as caught:
            to_optuna(study, study.history(), "sqlite:////no/such/folder/secret.db")
        assert "Optuna storage cannot be used" in str(caught.value)
        assert "secret" not in str(caught.value)

    def test_says_nothing_and_leaves_optunas_verbosity_alone(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before = optuna.logging.get_verbosity()
        study = make_study()
        to_optuna(study, study.history())
        assert optuna.logging.get_verbosity() == before
        assert capfd.readouterr() == ("", "")
