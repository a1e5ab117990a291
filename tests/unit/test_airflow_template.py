"""A study as a DAG has it, and what a run makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneflow.airflow.making import make_template
from tuneflow.budget import Budget
from tuneflow.errors import SpecError, TuneflowError
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.template import StudyTemplate
from tuneflow.schedulers import Hyperband
from tuneflow.searchers.random import Random
from tuneflow.space import Float, Int, Space

RATE = {"type": "float", "low": 0.1, "high": 0.9}
RUN = "manual__2026-01-02T03:04:05+00:00"


def made(train="train.py:train", **settings):
    given = {"space": {"rate": Float(0.1, 0.9)}, "metric": "loss", "mode": "min", "trials": 9}
    return make_template(train, Path("/dags"), **{**given, **settings})


def test_without_params_a_run_has_the_study_of_the_dag():
    study = made(scheduler=Hyperband(max_resource=9), seed=4).study("digits", RUN, {})
    assert (study.name, study.trials, study.seed) == ("digits", 9, 4)
    assert study.scheduler == Hyperband(max_resource=9)
    assert study.space == Space({"rate": Float(0.1, 0.9)})


def test_its_text_is_the_same_at_each_parse():
    assert repr(made(lambda config: 0.0)) == repr(made(lambda config: 0.0))


def test_params_that_are_none_leave_what_the_dag_says():
    params = dict.fromkeys(("trials", "space", "budget", "existing"))
    assert made().study("digits", RUN, params) == made().study("digits", RUN, {})


@pytest.mark.parametrize("form", ["instance", "json", "name"])
def test_a_searcher_is_the_same_in_every_form_that_it_may_have(form):
    searcher = {"instance": Random(), "json": {"type": "random"}, "name": "random"}[form]
    assert made(searcher=searcher).check().searcher == Random()


def test_a_param_sets_the_number_of_trials():
    assert made().study("s", RUN, {"trials": 3}).trials == 3


def test_a_param_changes_some_parameters_and_leaves_the_others():
    template = made(space={"rate": Float(0.1, 0.9), "width": Int(1, 8)})
    narrow = {"rate": {**RATE, "low": 0.5}}
    assert template.study("s", RUN, {"space": narrow}).space == Space(
        {"rate": Float(0.5, 0.9), "width": Int(1, 8)}
    )


def test_a_param_changes_some_parameters_of_a_group_and_leaves_its_others():
    optimizer = {"rate": Float(0.1, 0.9), "decay": {"rate": Float(0.0, 1.0), "steps": Int(1, 9)}}
    template = made(space={"optimizer": optimizer, "width": Int(1, 8)})
    change = {"optimizer": {"decay": {"rate": 0.5, "kind": "linear"}}}
    assert template.study("s", RUN, {"space": change}).space == Space(
        {
            "optimizer": {
                "rate": Float(0.1, 0.9),
                "decay": {"rate": 0.5, "steps": Int(1, 9), "kind": "linear"},
            },
            "width": Int(1, 8),
        }
    )


def test_a_param_may_put_a_parameter_in_place_of_a_group_and_a_group_in_place_of_one():
    template = made(space={"group": {"a": 1}, "rate": Float(0.1, 0.9)})
    change = {"group": RATE, "rate": {"low": 1, "high": 2}}
    assert template.study("s", RUN, {"space": change}).space == Space(change)


def test_a_param_changes_some_limits_and_leaves_the_others():
    template = made(budget=Budget(target=0.1, total_resource=90))
    study = template.study("s", RUN, {"budget": {"total_resource": 30}})
    assert study.budget == Budget(target=0.1, total_resource=30)


def test_params_do_not_change_the_template():
    template = made(budget=Budget(target=0.1))
    template.study("s", RUN, {"trials": 1, "budget": {"target": 0.5}, "space": {"x": 1}})
    assert template == made(budget=Budget(target=0.1))


def test_a_study_that_is_resumed_has_the_same_name_in_every_run():
    assert {made().name("digits", run, {}) for run in (RUN, "scheduled__1")} == {"digits"}


def test_a_new_study_is_called_after_its_run():
    template = made(existing="new")
    assert template.name("digits", RUN, {}).startswith("digits-manual-2026-01-02T03-04-05-00-00-")
    assert template.name("digits", RUN, {}) == template.name("digits", RUN, {})
    assert template.name("digits", RUN, {"existing": "resume"}) == "digits"
    assert made().name("digits", "a", {"existing": "new"}) == "digits-a"


@pytest.mark.parametrize("run_id", [RUN, "../../etc/passwd", "a/b c", "ü", "---", "x" * 250])
def test_a_runs_id_becomes_a_name_that_storage_takes(run_id, tmp_path):
    study = made(existing="new", searcher="random").study("digits", run_id, {})
    assert OpenStudy.create(study, f"file://{tmp_path}").url.startswith(f"file://{tmp_path}/digits")


def test_runs_whose_ids_differ_have_studies_that_differ():
    ids = ("ü", "ö", "a+b", "a-b", "a/b", "a" * 100, "a" * 101)
    names = {made(existing="new").name("digits", one, {}) for one in ids}
    assert len(names) == len(ids)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a\n", "/abs"])
def test_a_name_that_leaves_its_folder_is_refused_before_anything_is_written(name, tmp_path):
    root = tmp_path / "studies"
    with pytest.raises(TuneflowError, match="name"):
        OpenStudy.create(made(searcher="random").study(name, RUN, {}), f"file://{root}")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"mode": "maximum"}, "mode"),
        ({"metric": ""}, "metric"),
        ({"trials": 0}, "trials"),
        ({"trials": None}, "trials"),
        ({"seed": "x"}, "seed"),
        ({"searcher": "tpee"}, "searcher.type"),
        ({"searcher": 3}, "searcher"),
        ({"scheduler": {"type": "hyperband"}}, "scheduler.max_resource"),
        ({"scheduler": {"type": "asha", "max_resource": 9, "brackets": 9}}, "scheduler.brackets"),
        ({"budget": {"wallclock": 3}}, "budget.wallclock"),
        ({"resources": {"gpus": 1}}, "resources.gpus"),
        ({"round_size": 0}, "round_size"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"existing": "again"}, "existing"),
        ({"isolation": "container"}, "isolation"),
        ({"timeout": -1}, "timeout"),
        ({"space": {"rate": {"type": "float", "low": 1}}}, "space.rate.high"),
        ({"space": 3}, "space"),
        ({"train": "nonsense"}, "objective"),
        ({"train": "train.py:"}, "objective"),
        ({"train": 3}, "objective"),
        ({"train": {"command": []}}, "objective"),
        ({"train": {"command": ["run", "{rte}"]}}, "objective"),
    ],
)
def test_what_cannot_work_is_refused_when_the_dag_is_parsed_and_named(settings, field):
    with pytest.raises(SpecError) as caught:
        made(**settings)
    assert caught.value.field.startswith(field)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"trials": 0}, "trials"),
        ({"trials": "3"}, "trials"),
        ({"space": {"rate": {"type": "flot"}}}, "space.rate.type"),
        ({"space": [1]}, "space"),
        ({"budget": {"targt": 1}}, "budget.targt"),
        ({"budget": 3}, "budget"),
        ({"existing": "again"}, "existing"),
    ],
)
def test_a_param_that_cannot_work_is_refused_and_named(params, field):
    with pytest.raises(SpecError) as caught:
        made().study("s", RUN, params)
    assert caught.value.field == field


def test_a_function_is_not_pickled_before_a_run_needs_it():
    class Unpicklable:
        def __reduce__(self):
            raise AssertionError("pickled")

    thing = Unpicklable()
    template = made(lambda config: (thing, config))
    assert isinstance(template, StudyTemplate)
    assert template.check().trials == 9
