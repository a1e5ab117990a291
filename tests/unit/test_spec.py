"""From plain data to a study: every key, and what is said of each mistake."""

from __future__ import annotations

import json

import pytest

from tuneflow.checkpointing import Checkpointing, Keep
from tuneflow.errors import SpecError
from tuneflow.schedulers import ASHA, FIFO
from tuneflow.searchers import TPE, Sobol
from tuneflow.spec import ASK_TELL, study_from_json

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "opt": {"momentum": {"type": "float", "low": 0, "high": 1}},
    "model": {
        "type": "branch",
        "options": {"svm": {"C": {"type": "float", "low": 0, "high": 1}}, "tree": {}},
        "key": "kind",
    },
    "seed": 7,
}
DATA = {
    "name": "example",
    "objective": "train.py:train",
    "space": SPACE,
    "metric": "loss",
    "mode": "min",
    "trials": 10,
}


def study(**changes):
    data = {**DATA, **changes}
    return study_from_json({key: value for key, value in data.items() if value is not ...})


def problem(**changes):
    with pytest.raises(SpecError) as caught:
        study(**changes)
    return str(caught.value)


class TestWhatIsRead:
    def test_the_least_that_a_study_needs(self):
        made = study()
        assert made.name == "example"
        assert made.objective == {"function": "train.py:train"}
        assert made.scheduler == FIFO()
        assert made.searcher == TPE()
        assert (made.trials, made.seed, made.round_size, made.max_concurrent) == (10, 0, None, None)
        assert made.resources == {}

    def test_every_key(self):
        made = study(
            searcher={"type": "sobol", "points_to_evaluate": [{"lr": 0.01}]},
            scheduler={"type": "asha", "max_resource": 81, "reduction_factor": 3},
            seed=3,
            round_size="all",
            max_concurrent=4,
            budget={"wall_clock": 60, "plateau": {"segments": 5}, "fail_fast": True},
            resources={"cpu": 2, "gpu": 0.5, "memory": "2GB"},
        )
        assert made.searcher == Sobol(points_to_evaluate=({"lr": 0.01},))
        assert made.scheduler == ASHA(max_resource=81, reduction_factor=3)
        assert (made.seed, made.round_size, made.max_concurrent) == (3, "all", 4)
        assert made.budget.wall_clock == 60
        assert made.budget.plateau.segments == 5
        assert made.budget.fail_fast
        assert made.resources == {"cpu": 2, "gpu": 0.5, "memory": "2GB"}

    def test_a_type_name_stands_for_a_mapping(self):
        assert study(searcher="sobol").searcher == Sobol()

    def test_what_is_written_is_read_back_as_the_same(self):
        made = study(
            scheduler={"type": "asha", "max_resource": 81, "reduction_factor": 3},
            budget={"target": 0.5, "plateau": {"segments": 5}},
        )
        text = json.dumps(made.to_json())
        assert json.dumps(study_from_json(json.loads(text)).to_json()) == text

    def test_a_whole_number_stays_one_where_a_float_is_wanted(self):
        made = study(scheduler={"type": "asha", "max_resource": 81, "reduction_factor": 3})
        assert json.dumps(made.scheduler.to_json()["reduction_factor"]) == "3"

    def test_a_study_of_ask_and_tell(self):
        assert study(objective={"ask_tell": True}).objective == ASK_TELL

    @pytest.mark.parametrize(
        "placeholder",
        ["lr", "opt.momentum", "opt", "model.kind", "model.C", "seed", "trial", "checkpoint_dir"],
    )
    def test_a_command_may_use_whatever_a_configuration_holds(self, placeholder):
        objective = {"command": ["prog", f"--x={{{placeholder}}}"]}
        assert study(objective=objective).objective == objective


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"metrik": "x"}, "metrik: unknown key; did you mean 'metric'?"),
            ({"objective": ...}, "objective: this key is needed and missing"),
            ({"space": ...}, "space: this key is needed and missing"),
            ({"metric": ...}, "metric: this key is needed and missing"),
            ({"mode": ...}, "mode: this key is needed and missing"),
            ({"mode": "maximise"}, "mode: 'maximise' is neither 'min' nor 'max'"),
            ({"metric": 3}, "metric: 3 is not a name; write a text, such as metric: digits"),
            ({"name": 7}, "name: 7 is not a name; write a text, such as name: digits"),
            ({"trials": "ten"}, "trials: 'ten' is not a whole number of 1 or more"),
            ({"trials": 0}, "trials: 0 is not a whole number of 1 or more"),
            ({"trials": True}, "trials: True is not a whole number of 1 or more"),
            ({"seed": 1.5}, "seed: 1.5 is not a whole number"),
            ({"round_size": "every"}, "round_size: 'every' is not a whole number of 1 or more"),
            ({"max_concurrent": -1}, "max_concurrent: -1 is not a whole number of 1 or more"),
            ({"budget": 60}, "budget: 60 is not a mapping of names to values"),
            ({"budget": {"wall_clok": 1}}, "budget.wall_clok: unknown key; did you mean"),
            ({"budget": {"wall_clock": -1}}, "budget.wall_clock: -1 is not a positive number"),
            ({"budget": {"wall_clock": "1h"}}, "budget.wall_clock: '1h' does not fit"),
            ({"budget": {"plateau": {"segmens": 1}}}, "budget.plateau.segmens: unknown key; did"),
            ({"budget": {"plateau": {}}}, "budget.plateau.segments: is needed and missing"),
            ({"resources": {"gpus": 1}}, "resources.gpus: no such resource; did you mean 'gpu'?"),
            ({"resources": {"gpu": 1.5}}, "resources.gpu: 1.5"),
            ({"scheduler": {"max_resource": 9}}, "scheduler: {'max_resource': 9} does not say"),
            ({"scheduler": "assha"}, "scheduler.type: there is no scheduler 'assha'; did you mean"),
            ({"scheduler": "asha"}, "scheduler.max_resource: is needed and missing"),
            (
                {"scheduler": {"type": "asha", "max_resource": "9"}},
                "scheduler.max_resource: '9' does not fit",
            ),
            (
                {"scheduler": {"type": "asha", "max_resource": 9, "eta": 3}},
                "scheduler.eta: unknown key",
            ),
            (
                {"scheduler": {"type": "asha", "max_resource": 9, "min_resource": 10}},
                "scheduler.min_resource: 10 is above max_resource 9",
            ),
            ({"searcher": {"type": "tpee"}}, "searcher.type: there is no searcher 'tpee'"),
            (
                {"searcher": {"type": "random", "points_to_evaluate": [{"lrr": 1}]}},
                "searcher.points_to_evaluate[0]",
            ),
            ({"space": []}, "space: [] is not a mapping"),
            ({"space": {"x": {"type": "flot"}}}, "space.x.type: there is no domain of type 'flot'"),
            ({"space": {"x": {"type": "float", "low": 2, "high": 1}}}, "space.x"),
            ({"space": {"x": {"type": "float", "low": 0, "high": 1, "log": True}}}, "space.x"),
            ({"objective": {"command": []}}, "objective.command: [] is not a list"),
            ({"objective": {"command": ["p", "{lrr}"]}}, "objective.command[1]: {lrr} is not"),
            ({"objective": {"command": ["p", "{model.svm.C}"]}}, "objective.command[1]"),
            ({"objective": {"function": "a:b", "timeout": 0}}, "objective.timeout: 0 is not"),
            ({"objective": {"comand": ["p"]}}, "did you mean 'command'?"),
            ({"trials": ...}, "trials: nothing says when this study ends"),
        ],
    )
    def test_each_names_the_field_the_value_and_the_fix(self, changes, message):
        assert message in problem(**changes)

    def test_a_value_that_json_does_not_have(self):
        scheduler = {"type": "asha", "max_resource": object()}
        assert "cannot be written as JSON" in problem(scheduler=scheduler)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "checkpoints: 5 is not a mapping"),
        ({"every": 0}, "checkpoints.every: 0 cannot be used; give a whole number, 1 or more"),
        ({"every": 1.5}, "checkpoints.every: 1.5 does not fit"),
        ({"seconds": 0}, "checkpoints.seconds: 0 cannot be used; give a number above 0"),
        ({"background": "maybe"}, "checkpoints.background: 'maybe' does not fit"),
        ({"keep": 3}, "checkpoints.keep: 3 does not fit"),
        ({"keep": {"last": -1}}, "checkpoints.keep.last: -1 cannot be used; give a whole number"),
        ({"evry": 3}, "checkpoints.evry: unknown key; did you mean 'every'?"),
    ],
)
def test_mistakes_in_checkpoints(given, said):
    assert problem(checkpoints=given).startswith(said)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Checkpointing, "every", 1.5),
        (Checkpointing, "every", "3"),
        (Checkpointing, "every", True),
        (Checkpointing, "seconds", "600"),
        (Checkpointing, "seconds", float("nan")),
        (Checkpointing, "keep", {"last": 1}),
        (Checkpointing, "background", "no"),
        (Keep, "last", "1"),
        (Keep, "best", -1),
    ],
)
def test_mistakes_in_instances_are_told_where_they_are_made(kind, field, value):
    path = f"keep.{field}" if kind is Keep else field
    with pytest.raises(SpecError) as caught:
        kind(**{field: value})
    assert str(caught.value).startswith(f"checkpoints.{path}: {value!r} cannot be used; give ")
