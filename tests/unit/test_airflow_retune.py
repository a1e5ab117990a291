"""A retune as a group of tasks: what is in the DAG, before any of it runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TaskGroup,
    task,
)
from airflow.serialization.serialized_objects import DagSerialization

from tests.unit.test_airflow_group import HEAVY, PARSE
from tuneflow.airflow import retune_task_group, tune_task_group
from tuneflow.airflow.stages import SPARE
from tuneflow.errors import SpecError
from tuneflow.retune.plan import Limits
from tuneflow.schedulers import SuccessiveHalving
from tuneflow.space import Float

GIVEN = {
    "space": {"rate": Float(0.1, 0.9)},
    "metric": "loss",
    "mode": "min",
    "trials": 4,
    "storage": "memory://studies",
}
PARAMS = {"trials", "space", "budget", "data_version"}
STUDIES = ("champion", "search", "challenger")


def train(config):
    return config["rate"]


def group(train=train, **settings):
    return retune_task_group(train, **{**GIVEN, **settings})


def made(train=train, **settings):
    with DAG("d", schedule=None) as dag:
        group(train, **settings)
    return dag


def stages(dag, study):
    return [one for one in dag.task_ids if one.startswith(f"retune.{study}.")]


def test_steps_come_before_between_and_after_three_studies():
    dag = made()
    steps = [one for one in dag.task_ids if one.count(".") == 1]
    assert {*steps} == {
        f"retune.{name}" for name in ("begin", "prepare", "challenge", "judge", "announce")
    }
    assert {one.split(".")[1] for one in dag.task_ids if one not in steps} == {*STUDIES}
    upstream = {
        one: dag.get_task(f"retune.{one}").upstream_task_ids for one in ("prepare", "judge")
    }
    assert "retune.champion.stage_0.schedule" in upstream["prepare"]
    assert "retune.challenger.stage_0.schedule" in upstream["judge"]
    searches = {s: dag.get_task(f"retune.{s}.stage_0.search").upstream_task_ids for s in STUDIES}
    assert searches == {
        "champion": {"retune.begin"},
        "search": {"retune.prepare"},
        "challenger": {"retune.challenge"},
    }


def test_a_study_has_as_many_stages_as_it_can_need():
    dag = made(scheduler=SuccessiveHalving(max_resource=9, reduction_factor=3), trials=None)
    counts = {study: len(stages(dag, study)) // 3 for study in STUDIES}
    assert counts == {"champion": 1 + SPARE, "search": 3 + SPARE, "challenger": 1 + SPARE}


def test_measuring_is_one_stage_also_where_the_search_has_small_rounds():
    dag = made(round_size=1, seeds=9)
    counts = {study: len(stages(dag, study)) // 3 for study in STUDIES}
    assert counts == {"champion": 1 + SPARE, "search": 4 + SPARE, "challenger": 1 + SPARE}


def test_what_was_skipped_does_not_stop_a_retune_and_what_failed_does():
    dag = made()
    rules = {name: dag.get_task(f"retune.{name}").trigger_rule for name in ("prepare", "challenge")}
    assert rules == {"prepare": "none_failed", "challenge": "none_failed"}
    # A study without anything to run is skipped, and that must not hide that a step has failed.
    assert "retune.begin" in dag.get_task("retune.prepare").upstream_task_ids
    assert "retune.prepare" in dag.get_task("retune.challenge").upstream_task_ids


def test_the_judge_comes_whatever_has_failed_and_looks_at_all_tasks_but_mapped_ones():
    dag = made()
    judge = dag.get_task("retune.judge")
    assert judge.trigger_rule == "all_done"
    late = {"retune.judge", "retune.announce"}
    trials = {one for one in dag.task_ids if one.endswith(".trial")}
    assert {*judge.tasks} == {*dag.task_ids} - late - trials
    assert judge.tasks[0] == "retune.begin"
    assert judge.tasks.index("retune.prepare") < judge.tasks.index("retune.search.stage_0.search")


def test_only_the_announcement_has_outlets():
    asset = Asset("champion")
    dag = made(outlets=[asset])
    assert dag.get_task("retune.announce").outlets == [asset]
    assert {one.task_id for one in dag.tasks if one.outlets} == {"retune.announce"}


def test_tasks_before_come_before_the_first_and_tasks_after_follow_the_verdict():
    with DAG("d", schedule=None) as dag:

        @task
        def extract():
            """Come before."""

        @task
        def tell(verdict):
            """Take the verdict."""

        @task
        def deploy(verdict):
            """Take the verdict, if there is a new champion."""

        verdict = group()
        extract() >> verdict
        tell(verdict)
        deploy(verdict.promoted)
    assert dag.get_task("retune.begin").upstream_task_ids == {"extract"}
    assert dag.get_task("tell").upstream_task_ids == {"retune.judge"}
    assert dag.get_task("deploy").upstream_task_ids == {"retune.announce"}


def test_arguments_of_all_tasks_pass_through_and_those_of_trials_are_theirs_alone():
    dag = made(retries=7, owner="me", trial_args={"pool": "gpus"}, trigger_rule="none_failed")
    assert {(one.retries, one.owner) for one in dag.tasks} == {(7, "me")}
    pools = {one.task_id.endswith(".trial"): one.pool for one in dag.tasks}
    assert pools == {True: "gpus", False: "default_pool"}
    assert dag.get_task("retune.begin").trigger_rule == "none_failed"
    assert dag.get_task("retune.champion.stage_0.search").trigger_rule == "all_success"
    assert dag.get_task("retune.announce").trigger_rule == "all_success"


def test_a_user_can_set_params_when_triggering():
    dag = made()
    assert {*dag.params} == PARAMS
    assert dag.params.dump() == dict.fromkeys(PARAMS)


def test_params_that_a_dag_has_already_stay_as_they_are():
    with DAG("d", schedule=None, params={"trials": Param(3, type="integer"), "x": 1}) as dag:
        group()
    assert dag.params["trials"] == 3
    assert {*dag.params} == {*PARAMS, "x"}


def test_a_line_has_the_name_of_the_dag_unless_it_is_given():
    with DAG("d", schedule=None) as dag:
        group()
        group(group_id="other")
        group(group_id="third", name="digits")
    names = {one: dag.get_task(f"{one}.begin").line_name for one in ("retune", "other", "third")}
    assert names == {
        "retune": "{{ dag.dag_id }}",
        "other": "{{ dag.dag_id }}.other",
        "third": "digits",
    }


def test_the_studies_of_a_retune_are_its_own_whatever_a_study_beside_it_is_told():
    with DAG("d", schedule=None) as dag, TaskGroup("outer"):
        tune_task_group(train, **GIVEN, existing="new")
        group()
    search = dag.get_task("outer.retune.search.stage_0.search")
    assert search.template.name(search.study_name, "run", {"existing": "new"}) == "search"
    assert "task_ids='outer.retune.begin'" in search.storage


BAD = [
    ({"margin": -0.1}, "margin"),
    ({"margin": "much"}, "margin"),
    ({"confidence": 1.0}, "confidence"),
    ({"confidence": 95}, "confidence"),
    ({"seeds": 0}, "seeds"),
    ({"seeds": 1}, "seeds"),
    ({"seeds": 4, "test": "permutation"}, "seeds"),
    ({"test": "anova"}, "test"),
    ({"points": -1}, "points"),
    ({"discount": 2}, "discount"),
    ({"seed_key": "a.b"}, "seed_key"),
    ({"defaults": {"rat": 1.0}}, "defaults.rat"),
    ({"limits": {"total_resource": 0}}, "limits.total_resource"),
    ({"limits": {"wall_time": 60}}, "limits.wall_time"),
    (
        {"limits": {"total_resource": 10}, "scheduler": {"type": "fifo", "max_resource": 9}},
        "limits",
    ),
    ({"mode": "most"}, "mode"),
    ({"trials": 0}, "trials"),
    ({"stages": 0}, "stages"),
    ({"round_size": None}, "round_size"),
    ({"trials_per_task": 0}, "trials_per_task"),
    ({"name": "a/b"}, "name"),
    ({"confidnce": 0.9}, "confidnce"),
    ({"trial_args": {"margin": 1}}, "trial_args.margin"),
]


@pytest.mark.parametrize(("settings", "field"), BAD)
def test_what_cannot_work_is_an_error_of_the_dags_file_that_names_it(settings, field):
    with pytest.raises(SpecError) as caught:
        made(**settings)
    assert field in caught.value.field


def test_a_misspelt_argument_is_told_from_what_was_meant():
    with pytest.raises(SpecError, match="did you mean 'confidence'"):
        made(confidnce=0.9)


@pytest.mark.parametrize("objective", [train, lambda config: 1.0, "train.py:train"])
def test_a_dag_goes_through_airflows_serializer_and_back(objective):
    with DAG("d", schedule=None) as dag:
        group(objective, outlets=[Asset("model")], limits=Limits(cost=5.0, cost_per_hour=2.0))
    text = json.dumps(DagSerialization.to_dict(dag))
    restored = DagSerialization.from_dict(json.loads(text))
    assert {*restored.task_ids} == {*dag.task_ids}
    assert restored.get_task("retune.judge").trigger_rule == "all_done"
    assert {*restored.params} == PARAMS


def test_a_dag_is_serialized_to_the_same_text_each_time_it_is_parsed():
    settings = {"defaults": {"rate": 0.5}, "limits": {"wall_clock": 60}}
    dags = [made(**settings) for _ in "ab"]
    texts = [json.dumps(DagSerialization.to_dict(dag), sort_keys=True) for dag in dags]
    assert texts[0] == texts[1]


def test_a_retune_can_have_a_schedule_of_time_and_of_assets():
    data, drift = Asset("data"), Asset("drift")
    weekly = CronTriggerTimetable("@weekly", timezone="UTC")
    with DAG("d", schedule=AssetOrTimeSchedule(timetable=weekly, assets=data | drift)) as dag:
        group()
    text = json.dumps(DagSerialization.to_dict(dag))
    timetable = DagSerialization.from_dict(json.loads(text)).timetable
    assert timetable.summary == "Asset or 0 0 * * 0"


def test_a_wrong_time_beside_assets_is_an_error_of_the_dags_file():
    wrong = CronTriggerTimetable("61 * * * *", timezone="UTC")
    schedule = AssetOrTimeSchedule(timetable=wrong, assets=Asset("data"))
    with (
        DAG("d", schedule=schedule),
        pytest.raises(SpecError, match=r"schedule: '61 \* \* \* \*' is no time"),
    ):
        group()


FILE = """
from airflow.sdk import DAG
from tuneflow.airflow import retune_task_group
from tuneflow.space import Float

with DAG("parsed", schedule=None):
    retune_task_group(
        "train.py:train",
        space={"rate": Float(0.1, 0.9)},
        metric="loss",
        mode="min",
        scheduler={"type": "successive_halving", "max_resource": 9},
        resources={"gpu": 1},
        storage="s3://bucket/studies",
    )
"""


def test_a_dags_file_is_parsed_fast_and_without_what_only_workers_need(tmp_path):
    file = tmp_path / "dag.py"
    file.write_text(FILE)
    command = [sys.executable, "-c", PARSE, str(file), "scipy", *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, *imported = done.stdout.splitlines()[-1].split()
    assert imported == []
    assert float(seconds) < 1.0  # some 0.3 where nothing else runs
