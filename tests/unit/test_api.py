"""Tuning from Python: `tune`, `resume`, `load` and `create_study`."""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path

import pytest

import tuneflow
from tuneflow.driving import drive
from tuneflow.errors import (
    MissingDependencyError,
    ObjectiveError,
    SpecError,
    StudyConflictError,
    StudyExistsError,
    StudyNotFoundError,
    TrialsFailedError,
)
from tuneflow.executors import InlineExecutor
from tuneflow.last_place import LastPlace
from tuneflow.objective.reference import load_objective
from tuneflow.opened import OpenStudy
from tuneflow.schedulers import ASHA, PB2
from tuneflow.searchers import Random
from tuneflow.space import Space, uniform
from tuneflow.spec import study_from_json
from tuneflow.stoppers import Function

SPACE = {"x": uniform(0, 1)}
calls: list[float] = []


class Unopened(InlineExecutor):
    """Notes the job that it is opened with, and opens nothing."""

    def open(self, job, objective):
        self.job = job
        raise AssertionError("opened")


def parabola(config):
    calls.append(config["x"])
    return (config["x"] - 0.3) ** 2


def curve(config):
    for epoch in range(1, 10):
        tuneflow.report(loss=config["x"] + 1 / epoch)


def broken(config):
    raise ValueError("never works")


@pytest.fixture(params=["file", "memory"])
def storage(request, tmp_path):
    return str(tmp_path) if request.param == "file" else f"memory://{uuid.uuid4().hex}"


def tune(train=parabola, **changes):
    defaults = {"space": SPACE, "metric": "loss", "mode": "min", "trials": 5, "progress": False}
    return tuneflow.tune(train, **{**defaults, "searcher": "random", **changes})


class TestTune:
    def test_returns_the_best_of_all_trials(self, storage):
        result = tune(storage=storage)
        assert result.state == "finished"
        assert len(result.trials) == 5
        values = [result.value(trial) for trial in result.trials]
        assert result.best_value == min(values)
        assert result.best_config == result.trials[values.index(min(values))].params

    def test_a_scheduler_stops_what_is_not_worth_going_on_with(self, storage):
        scheduler = ASHA(max_resource=8, reduction_factor=2)
        result = tune(curve, storage=storage, trials=16, scheduler=scheduler)
        assert result.best_trial.resource == 8
        assert sum(trial.resource for trial in result.trials) < 16 * 8

    def test_the_same_arguments_go_on_with_the_study_and_run_nothing_again(self, storage):
        first = tune(storage=storage, name="same")
        before = len(calls)
        again = tune(storage=storage, name="same")
        assert len(calls) == before
        assert again.best_config == first.best_config

    def test_other_arguments_are_another_study(self, storage):
        tune(storage=storage, name="same")
        with pytest.raises(StudyExistsError, match="it differs in seed"):
            tune(storage=storage, name="same", seed=1)

    def test_a_study_that_cannot_be_decided_is_not_created(self, storage, monkeypatch):
        with pytest.raises(SpecError, match=r"stop\.function: nowhere:judge cannot be imported"):
            tune(storage=storage, name="same", stop=Function("nowhere:judge"))
        monkeypatch.setitem(sys.modules, "numpy", None)
        with pytest.raises(MissingDependencyError, match="numpy"):
            tune(curve, storage=storage, name="same", scheduler=PB2(max_resource=3))
        assert len(tune(storage=storage, name="same").trials) == 5

    def test_the_seed_decides(self, storage):
        first, same = (tune(storage=storage, name=name, seed=3) for name in ("a", "b"))
        other = tune(storage=storage, name="c", seed=4)
        params = [[trial.params for trial in found.trials] for found in (first, same, other)]
        assert params[0] == params[1] != params[2]

    def test_plugins_may_be_instances_names_or_mappings(self, storage):
        one, two, three = (
            tune(storage=storage, name=f"study-{number}", searcher=searcher, executor=executor)
            for number, (searcher, executor) in enumerate(
                [
                    (Random(), InlineExecutor()),
                    ("random", "inline"),
                    ({"type": "random"}, {"type": "inline"}),
                ]
            )
        )
        assert one.study.searcher == two.study.searcher == three.study.searcher
        assert one.best_config == two.best_config == three.best_config

    def test_a_space_may_be_a_mapping_or_a_space(self, storage):
        one, two = (
            tune(storage=storage, name=name, space=space)
            for name, space in (("a", SPACE), ("b", Space(SPACE)))
        )
        assert one.study.space == two.study.space

    def test_observers_see_every_fact(self, storage):
        seen = []
        result = tune(storage=storage, observers=[lambda history, facts: seen.extend(facts)])
        assert seen == result.history.facts

    def test_without_a_name_it_is_that_of_the_objective_and_the_time(self, storage):
        assert tune(storage=storage).study.name.startswith("parabola-")

    def test_an_importable_function_is_recorded_by_its_name(self, storage, monkeypatch):
        monkeypatch.setitem(sys.modules, parabola.__module__, sys.modules[__name__])
        result = tune(storage=storage)
        assert result.study.objective == {"function": f"{parabola.__module__}:parabola"}

    def test_a_closure_is_recorded_as_what_it_is(self, storage):
        result = tune(lambda config: config["x"], storage=storage, name="closure")
        assert result.study.objective == {"callable": "<lambda>"}

    def test_an_import_path_is_recorded_as_it_was_given(self, storage, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("objective.py").write_text("def train(config):\n    return config['x']\n")
        result = tune("objective.py:train", storage=storage)
        assert result.study.objective == {"function": "objective.py:train"}

    def test_a_mapping_is_recorded_as_it_was_given(self, storage):
        command = {"command": ["/bin/echo", '{{"loss": {x}}}'], "timeout": 30}
        result = tune(command, storage=storage, trials=2)
        assert result.study.objective == command
        assert result.best_value == result.best_config["x"]

    def test_nothing_is_stored_when_an_argument_cannot_work(self, tmp_path):
        for changes, error in (
            ({"mode": "down"}, SpecError),
            ({"searcher": 5}, SpecError),
            ({"executor": "cluster"}, SpecError),
            ({"train": "no_such_module:train"}, ObjectiveError),
        ):
            with pytest.raises(error):
                tune(storage=tmp_path, **changes)
        assert list(tmp_path.iterdir()) == []

    def test_without_any_usable_value_the_error_says_why(self, storage):
        with pytest.raises(TrialsFailedError, match="trial 0: ValueError: never works"):
            tune(broken, storage=storage)

    def test_progress_shows_a_summary(self, storage, capsys):
        tune(storage=storage, name="seen", progress=True)
        assert "seen finished" in capsys.readouterr().out


class TestResume:
    def test_a_halted_study_tries_its_failed_trials_again(self, storage):
        healed = False

        def train(config):
            if not healed and config["x"] > 0.5:
                raise ValueError("x is too large")
            return config["x"]

        budget = {"fail_fast": True}
        with pytest.raises(TrialsFailedError, match="halted: 1 failed trial, 0 allowed"):
            tune(train, storage=storage, name="halts", budget=budget)
        healed = True
        result = tuneflow.resume(f"{storage}/halts", train, progress=False)
        assert result.state == "finished"
        assert result.failed == []

    def test_a_finished_study_runs_nothing(self, storage):
        url = tune(storage=storage).url
        before = len(calls)
        assert tuneflow.resume(url, parabola, progress=False).state == "finished"
        assert len(calls) == before

    def test_an_objective_without_a_name_must_be_given_again(self, storage):
        url = tune(lambda config: config["x"], storage=storage, name="closure").url
        with pytest.raises(ObjectiveError, match="pass it"):
            tuneflow.resume(url)

    def test_a_path_is_found_again_from_another_folder(self, tmp_path, monkeypatch):
        home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
        home.mkdir()
        elsewhere.mkdir()
        monkeypatch.chdir(home)
        Path("objective.py").write_text("def train(config):\n    return config['x']\n")
        url = tune("objective.py:train", storage=tmp_path / "studies").url
        monkeypatch.chdir(elsewhere)
        assert tuneflow.resume(url, progress=False).state == "finished"

    def test_it_runs_where_it_ran_last_unless_told_otherwise(self, tmp_path):
        url = tune(storage=tmp_path, name="placed", executor={"type": "inline"}).url
        place = tmp_path / "placed" / "place.json"
        assert json.loads(place.read_text())["executor"] == {"type": "inline"}
        place.write_text(json.dumps({"folder": str(tmp_path), "executor": {"type": "gone"}}))
        with pytest.raises(SpecError, match="there is no executor 'gone'"):
            tuneflow.resume(url, parabola, progress=False)
        assert tuneflow.resume(url, parabola, executor="inline", progress=False).state == "finished"

    def test_a_study_of_ask_and_tell_has_nothing_to_call(self, storage):
        study = tuneflow.create_study(
            space=SPACE, metric="loss", mode="min", trials=1, storage=storage
        )
        with pytest.raises(ObjectiveError, match="is driven by ask and tell"):
            tuneflow.resume(study.url)

    def test_there_must_be_a_study(self, storage):
        with pytest.raises(StudyNotFoundError):
            tuneflow.resume(f"{storage}/none")


class TestWhatIsMissing:
    @pytest.fixture(autouse=True)
    def no_optuna(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "optuna", None)

    def test_is_said_before_a_trial_runs_or_the_study_exists(self, tmp_path):
        """The default searcher needs Optuna; whoever does without can name another one."""
        message = "run: pip install 'tuneflow[optuna]', or use the searcher 'random'"
        with pytest.raises(MissingDependencyError, match=re.escape(message)):
            tune(storage=tmp_path, searcher=None)
        assert list(tmp_path.iterdir()) == []
        assert tune(storage=tmp_path, searcher="random").state == "finished"

    def test_is_said_before_a_cluster_starts(self, tmp_path):
        study = study_from_json(
            {"name": "a", "objective": {"function": "a:b"}, "space": {"x": [1]}}
            | {"metric": "loss", "mode": "min", "trials": 1}
        )
        opened = OpenStudy.create(study, str(tmp_path))
        with pytest.raises(MissingDependencyError):
            drive(opened, load_objective(parabola), Unopened(), place=LastPlace(str(tmp_path)))

    def test_is_said_to_a_loop_of_your_own(self, tmp_path):
        with pytest.raises(MissingDependencyError):
            tuneflow.create_study(
                space=SPACE, metric="loss", mode="min", trials=1, storage=tmp_path
            )


class TestWarmTrials:
    @pytest.mark.parametrize(
        ("resources", "warm"), [({}, True), ({"cpu": 2}, True), ({"gpu": 0.5}, False)]
    )
    def test_none_is_kept_where_it_would_keep_memory_of_a_gpu(self, tmp_path, resources, warm):
        executor = Unopened()
        with pytest.raises(AssertionError, match="opened"):
            tune(storage=tmp_path, resources=resources, executor=executor)
        assert (executor.job.warm > 0) is warm


class TestLoad:
    def test_finds_what_was_found(self, storage):
        result = tune(storage=storage)
        loaded = tuneflow.load(result.url)
        assert loaded.best_config == result.best_config
        assert loaded.state == "finished"
        assert len(loaded.rows()) == 5

    def test_there_must_be_a_study(self, storage):
        with pytest.raises(StudyNotFoundError, match="its storage and its name"):
            tuneflow.load(f"{storage}/none")


class TestAskAndTell:
    @pytest.fixture
    def create(self, storage):
        def create(**changes):
            defaults = {"space": SPACE, "metric": "loss", "mode": "min", "trials": 4, "name": "own"}
            return tuneflow.create_study(**{**defaults, "storage": storage, **changes})

        return create

    def test_the_loop_ends_after_all_trials(self, create):
        study = create()
        while (trial := study.ask()) is not None:
            study.tell(trial, trial.params["x"])
        assert study.result.state == "finished"
        assert study.result.best_value == min(t.params["x"] for t in study.result.trials)

    def test_several_may_be_out_at_once(self, create):
        study = create()
        asked = [study.ask() for _ in range(4)]
        assert [segment.trial for segment in asked] == [0, 1, 2, 3]
        assert study.ask() is None
        for segment in reversed(asked):
            study.tell(segment.trial, {"loss": 1.0, "other": 2})
        assert study.ask() is None
        assert study.result.state == "finished"

    def test_what_was_asked_and_not_told_is_handed_out_again(self, create):
        first = create().ask()
        study = create()
        assert study.ask() == first
        study.tell(first, 1.0)
        assert study.ask().trial == 1

    def test_a_scheduler_asks_for_more_of_the_best(self, create):
        study = create(scheduler=ASHA(max_resource=4, reduction_factor=2))
        while (trial := study.ask()) is not None:
            study.tell(trial, trial.params["x"] / trial.until)
        assert study.result.best_trial.resource == 4

    def test_a_trial_may_fail(self, create):
        study = create()
        study.tell(study.ask(), failed="it exploded")
        assert str(study.result.failed[0].failure) == "told: it exploded"

    @pytest.mark.parametrize("arguments", [(), (1.0,)])
    def test_either_a_value_or_a_failure_is_told(self, create, arguments):
        study = create()
        failed = "why" if arguments else None
        with pytest.raises(SpecError, match="either a value or failed"):
            study.tell(study.ask(), *arguments, failed=failed)

    def test_each_trial_is_told_once(self, create):
        study = create()
        trial = study.ask()
        study.tell(trial, 1.0)
        with pytest.raises(SpecError, match="trial 0 is not running"):
            study.tell(trial, 1.0)

    @pytest.mark.parametrize(
        ("value", "resource", "message"),
        [
            ("low", None, "give a number"),
            ({"loss": "low"}, None, "metric 'loss' is 'low'"),
            ({"los": 1.0}, None, "'loss' is not among what was told; did you mean 'los'?"),
            (1.0, 0, "resource: 0 is not above 0"),
        ],
    )
    def test_what_is_no_result_is_refused_and_can_be_told_again(
        self, create, value, resource, message
    ):
        study = create()
        trial = study.ask()
        with pytest.raises(SpecError, match=re.escape(message)):
            study.tell(trial, value, resource=resource)
        study.tell(trial, 1.0)
        assert study.result.best_value == 1.0

    def test_the_older_of_two_loops_is_told_so(self, create):
        older = create()
        trial = older.ask()
        create()
        with pytest.raises(StudyConflictError):
            older.tell(trial, 1.0)


class TestRounds:
    def journal(self, url):
        folder = Path(url.removeprefix("file://")) / "journal"
        return {entry.name: entry.read_bytes() for entry in folder.iterdir()}

    def test_the_journal_is_the_same_whenever_it_is_run(self, tmp_path):
        one, two = (
            tune(
                curve,
                storage=tmp_path / name,
                name="rounds",
                trials=8,
                round_size=3,
                scheduler=ASHA(max_resource=9, reduction_factor=3),
            )
            for name in ("one", "two")
        )
        assert len(self.journal(one.url)) > 3
        assert self.journal(one.url) == self.journal(two.url)
