"""A study's group among other tasks, and what a DAG's author may get wrong around it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import DAG, Asset, TaskGroup, task

from tuneflow.airflow import tune_task_group
from tuneflow.airflow.dags import current_folder
from tuneflow.airflow.decorator import tune_task
from tuneflow.airflow.defaults import RETRIES, RETRY_DELAY
from tuneflow.errors import SpecError
from tuneflow.space import Float

FIRST = "tune.stage_0.search"


def train(config):
    return config["rate"]


def group(**settings):
    given = {"space": {"rate": Float(0.1, 0.9)}, "metric": "loss", "mode": "min", "trials": 4}
    return tune_task_group(train, storage="memory://studies", stages=2, **{**given, **settings})


def made(*, default_args=None, **settings):
    with DAG("d", schedule=None, default_args=default_args or {}) as dag:
        group(**settings)
    return dag


@task
def extract():
    """Return something."""


@task
def deploy(best):
    """Take what was found."""


class TestNeighbours:
    @pytest.mark.parametrize("way", ["before", "after"])
    def test_a_task_that_is_put_before_the_result_comes_before_the_whole_group(self, way):
        with DAG("d", schedule=None) as dag:
            begun, best = extract(), group()
            if way == "before":
                begun >> best
            else:
                best << begun
        assert dag.get_task(FIRST).upstream_task_ids == {"extract"}
        assert "extract" not in dag.get_task("tune.best").upstream_task_ids

    @pytest.mark.parametrize("way", ["argument", "arrow"])
    def test_a_task_that_takes_the_result_or_is_put_after_it_comes_after_the_group(self, way):
        with DAG("d", schedule=None) as dag:
            best = group()
            if way == "argument":
                deploy(best)
            else:
                best >> deploy("something")
        assert dag.get_task("deploy").upstream_task_ids == {"tune.best"}

    def test_a_part_of_the_result_can_be_handed_on(self):
        with DAG("d", schedule=None) as dag:
            deploy(group()["config"])
        assert dag.get_task("deploy").upstream_task_ids == {"tune.best"}

    def test_groups_follow_one_another(self):
        with DAG("d", schedule=None) as dag:
            group() >> group(group_id="finer")
        assert dag.get_task("finer.stage_0.search").upstream_task_ids == {"tune.best"}

    def test_studies_of_groups_in_different_groups_have_different_names(self):
        with DAG("d", schedule=None) as dag:
            for outer in ("north", "south"):
                with TaskGroup(outer):
                    group()
        names = {dag.get_task(f"{outer}.tune.best").study_name for outer in ("north", "south")}
        assert names == {"{{ dag.dag_id }}.north.tune", "{{ dag.dag_id }}.south.tune"}


class TestOperatorArguments:
    def test_a_trigger_rule_is_that_of_the_first_task(self):
        rules = {one.task_id: one.trigger_rule for one in made(trigger_rule="all_done").tasks}
        assert rules == {
            FIRST: "all_done",
            "tune.stage_0.trial": "all_success",
            "tune.stage_0.schedule": "all_done",
            "tune.stage_1.search": "all_success",
            "tune.stage_1.trial": "all_success",
            "tune.stage_1.schedule": "all_done",
            "tune.best": "none_failed_min_one_success",
        }

    def test_a_trigger_rule_of_the_whole_dag_is_that_of_no_task_within_the_group(self):
        changed = made(default_args={"trigger_rule": "none_skipped"})
        assert {one.task_id: one.trigger_rule for one in changed.tasks} == {
            one.task_id: one.trigger_rule for one in made().tasks
        }

    def test_every_task_is_tried_again_unless_somebody_says_otherwise(self):
        def retries(dag):
            return {(one.retries, one.retry_delay) for one in dag.tasks}

        minute = timedelta(minutes=1)
        assert retries(made()) == {(RETRIES, RETRY_DELAY)}
        assert retries(made(retries=5)) == {(5, RETRY_DELAY)}
        assert retries(made(default_args={"retries": 7, "retry_delay": minute})) == {(7, minute)}

    def test_a_pool_of_the_whole_dag_limits_the_trials_too(self):
        assert made(default_args={"pool": "gpus"}).get_task(FIRST).fan_out is False
        assert made(default_args={"pool": "default_pool"}).get_task(FIRST).fan_out is True

    def test_a_pool_of_a_group_around_it_limits_the_trials_too(self):
        with (
            DAG("d", schedule=None) as dag,
            TaskGroup("outer", default_args={"pool": "gpus"}),
        ):
            group()
        assert dag.get_task(f"outer.{FIRST}").fan_out is False

    def test_trials_may_have_a_label_of_the_users_own(self):
        dag = made(trial_args={"map_index_template": "{{ task.item }}"})
        assert dag.get_task("tune.stage_0.trial").map_index_template == "{{ task.item }}"

    @pytest.mark.parametrize("asset", [Asset("model"), [Asset("model")]])
    def test_an_outlet_may_be_given_by_itself(self, asset):
        assert made(outlets=asset).get_task("tune.best").outlets == [Asset("model")]

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"trails": 9}, "trails: no operator takes this argument; did you mean 'trials'?"),
            ({"retrys": 9}, "retrys: no operator takes this argument; did you mean 'retries'?"),
            ({"task_id": "mine"}, "task_id: no operator takes this argument"),
            (
                {"trial_args": {"pol": "gpus"}},
                "trial_args.pol: no operator takes this argument; did you mean 'pool'?",
            ),
            ({"trial_args": {"item": {}}}, "trial_args.item: no operator takes this argument"),
        ],
    )
    def test_an_argument_that_nobody_takes_is_named(self, settings, said):
        with pytest.raises(SpecError) as caught:
            made(**settings)
        assert str(caught.value).startswith(said)

    def test_every_argument_of_an_operator_may_be_given(self):
        dag = made(
            retries=1,
            retry_delay=timedelta(seconds=1),
            queue="q",
            weight_rule="absolute",
            execution_timeout=timedelta(minutes=5),
            on_failure_callback=print,
            doc_md="# Tunes",
            start_date=None,
        )
        for one in dag.tasks:
            assert (one.queue, one.doc_md) == ("q", "# Tunes")
            assert one.execution_timeout == timedelta(minutes=5)
            assert list(one.on_failure_callback) == [print]


class TestPlace:
    @pytest.mark.parametrize(
        ("settings", "field"),
        [
            ({"name": "a/b"}, "name"),
            ({"name": ".."}, "name"),
            ({"storage": "s4://bucket"}, "storage"),
            ({"storage": "s3://key:secret@bucket"}, "storage"),
        ],
    )
    def test_a_place_that_cannot_be_is_refused_when_the_dag_is_parsed(self, settings, field):
        given = {"space": {}, "metric": "m", "mode": "min", "trials": 1, "storage": "memory://s"}
        with DAG("d", schedule=None), pytest.raises(SpecError) as caught:
            tune_task_group(train, **{**given, **settings})
        assert caught.value.field == field

    def test_templates_are_left_to_a_run(self):
        dag = made(name="{{ var.value.team }}/{{ ds }}")
        assert dag.get_task("tune.best").study_name == "{{ var.value.team }}/{{ ds }}"

    def test_files_start_where_the_dags_file_is(self):
        with DAG("d", schedule=None):
            assert current_folder() == Path(__file__).parent

    def test_without_a_dag_files_start_where_the_calling_code_is(self):
        assert current_folder() == Path(__file__).parent

    def test_a_group_outside_of_a_dag_says_so(self):
        with pytest.raises(RuntimeError, match="can only be used inside a dag"):
            group()


def test_a_decorated_function_that_is_called_with_a_configuration_says_how_it_is_called():
    decorated = tune_task(space={}, metric="m", mode="min", trials=1, storage="memory://s")(train)
    with DAG("d", schedule=None), pytest.raises(SpecError, match=r"write train\(\)"):
        decorated({"rate": 0.5})
