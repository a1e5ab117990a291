"""The trial operator: what it makes of outcomes, and of there being none."""

from __future__ import annotations

import json
import math

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from tests.airflow_operators import Stages, leave
from tuneflow.airflow.segments_trigger import SegmentsTrigger
from tuneflow.airflow.trial_operator import LABEL
from tuneflow.errors import StorageError
from tuneflow.rounds import open_round
from tuneflow.store import Store
from tuneflow.trial import log_path, outcome_path

FAILED = ("ValueError", "this cannot be learned", "Traceback: line 7")


@pytest.fixture(autouse=True)
def _connection(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", "dask://127.0.0.1:9")


@pytest.fixture
def stages():
    return Stages()


@pytest.fixture
def opened(stages):
    return stages.begin()


def deferral(stages, operator, **how):
    """Return what an operator defers to."""
    with pytest.raises(TaskDeferred) as caught:
        stages.execute(operator, **how)
    return caught.value


def said(capfd):
    """Return what is in the log."""
    return "".join(capfd.readouterr())


class TestResources:
    def test_an_order_names_what_its_segment_occupies(self):
        rule = {"base": {"type": "successive_halving", "max_resource": 3}, "total": {"gpu": 8}}
        stages = Stages(
            scheduler={"type": "resource_changing", **rule}, trials=6, resources={"gpu": 1}
        )
        opened = stages.begin()
        for number in range(6):
            leave(opened, number, value=float(number), level=1)
        stages.close(0)
        leave(opened, 0, 1, value=0.0, level=3)
        leave(opened, 3, 1, value=0.0, level=3)
        items = stages.execute(stages.search(1))
        assert [item["resources"] for item in items] == [[{"gpu": 4}], [{"gpu": 4}]]
        opened.store.delete([outcome_path(3, 1)])
        operator = stages.trial((3, 1), stage=1)
        operator.item["resources"] = items[1]["resources"]
        [order] = deferral(stages, operator).trigger.orders
        assert (order.trial, order.resources) == (3, {"gpu": 4})


class TestOutcomes:
    def test_an_outcome_that_is_there_is_all_that_it_takes(self, stages, opened):
        leave(opened, 1, value=0.25)
        (answer,) = stages.execute(stages.trial((1, 0)))
        assert (answer["trial"], answer["status"], answer["value"]) == (1, "completed", 0.25)
        assert stages.context["label"] == "trial 1 · loss 0.25"

    def test_the_label_says_how_the_segment_came_to_be(self, stages, opened):
        leave(opened, 1, value=0.25)
        stages.execute(stages.trial((1, 0), note="promoted"))
        assert stages.context["label"] == "trial 1 · loss 0.25 · promoted"

    def test_several_segments_share_a_task_and_its_label_has_the_best(self, stages, opened):
        for number, value in enumerate((0.75, 0.25, 0.5)):
            leave(opened, number, value=value)
        answers = stages.execute(stages.trial((0, 0), (1, 0), (2, 0)))
        assert [answer["value"] for answer in answers] == [0.75, 0.25, 0.5]
        assert stages.context["label"] == "trial 0, 1, 2 · best loss 0.25"

    def test_a_value_that_json_has_no_number_for_can_be_returned(self, stages, opened):
        leave(opened, 0, value=float("nan"))
        (answer,) = stages.execute(stages.trial((0, 0)))
        assert math.isnan(float(json.loads(json.dumps(answer, allow_nan=False))["value"]))

    def test_what_the_trial_printed_is_in_the_log(self, stages, opened, capfd):
        leave(opened, 0)
        opened.store.put(log_path(0, 0), "\n".join(f"epoch {n}" for n in range(300)).encode())
        stages.execute(stages.trial((0, 0)))
        log = said(capfd)
        assert "epoch 299 " in log
        assert "epoch 99 " not in log

    def test_a_storage_that_fails_is_told_in_a_sentence_and_retried(self, stages, monkeypatch):
        def fail(*_):
            raise StorageError("the disk is gone")

        monkeypatch.setattr(Store, "get_many", fail)
        with pytest.raises(AirflowException, match="the disk is gone") as caught:
            stages.execute(stages.trial((0, 0)))
        assert not isinstance(caught.value, AirflowFailException)


class TestFailures:
    def test_a_failed_trial_fails_its_task_for_good(self, stages, opened, capfd):
        leave(opened, 0, failure=FAILED)
        with pytest.raises(AirflowFailException) as caught:
            stages.execute(stages.trial((0, 0)))
        assert str(caught.value) == "trial 0 failed: ValueError: this cannot be learned"
        assert stages.context["label"] == "trial 0 · failed"
        assert "Traceback: line 7" in said(capfd)

    @pytest.mark.parametrize("kind", ["ModuleNotFoundError", "ImportError"])
    def test_a_package_that_is_missing_may_be_there_at_the_next_try(self, stages, opened, kind):
        leave(opened, 0, failure=(kind, "No module named 'torch'"))
        with pytest.raises(AirflowException, match="No module named 'torch'") as caught:
            stages.execute(stages.trial((0, 0)))
        assert not isinstance(caught.value, AirflowFailException)

    def test_of_several_segments_the_label_says_how_many_failed(self, stages, opened):
        leave(opened, 0, value=0.5)
        leave(opened, 1, failure=FAILED)
        leave(opened, 2, failure=FAILED)
        with pytest.raises(AirflowFailException, match="trial 1 failed"):
            stages.execute(stages.trial((0, 0), (1, 0), (2, 0)))
        assert stages.context["label"] == "trial 0, 1, 2 · best loss 0.5 · 2 failed"

    def test_the_first_try_takes_a_failure_as_it_is(self, stages, opened):
        leave(opened, 0, failure=FAILED)
        with pytest.raises(AirflowFailException):
            stages.execute(stages.trial((0, 0)), try_number=1)
        assert opened.store.exists(outcome_path(0, 0))

    def test_a_later_try_runs_what_has_failed_again_and_nothing_else(self, stages, opened):
        leave(opened, 0)
        leave(opened, 1, failure=FAILED)
        found = deferral(stages, stages.trial((0, 0), (1, 0)), try_number=2)
        assert [order.attempt for order in found.trigger.orders] == [2, 2]
        assert opened.store.exists(outcome_path(0, 0))
        assert not opened.store.exists(outcome_path(1, 0))

    def test_a_later_try_leaves_a_failure_that_the_study_has_gone_on_from(
        self, stages, opened, capfd
    ):
        leave(opened, 0, failure=FAILED)
        open_round(opened, 1)
        with pytest.raises(AirflowFailException, match="trial 0 failed"):
            stages.execute(stages.trial((0, 0)), try_number=2)
        assert "trigger the DAG with retry_failed" in said(capfd)
        assert opened.store.exists(outcome_path(0, 0))


class TestWaiting:
    def test_until_something_has_come_of_it_the_label_is_that_of_the_search(self, stages):
        render = DAG("dag", schedule=None).get_template_env().from_string(LABEL).render
        operator = stages.trial((1, 0), note="promoted")
        assert render({"task": operator}) == "trial 1 · promoted"
        assert render({"task": operator, "label": "trial 1 · loss 0.5"}) == "trial 1 · loss 0.5"

    def test_it_waits_for_the_segments_in_the_triggerer(self, stages, opened):
        found = deferral(stages, stages.trial((0, 0), (2, 0)), try_number=3)
        keys = [(order.trial, order.segment, order.attempt) for order in found.trigger.orders]
        assert keys == [(0, 0, 3), (2, 0, 3)]
        assert {order.study for order in found.trigger.orders} == {opened.url}
        assert found.method_name == "resume"

    def test_the_trigger_is_json_and_can_be_made_anew(self, stages, opened):
        trigger = deferral(stages, stages.trial((0, 0))).trigger
        name, kwargs = trigger.serialize()
        again = SegmentsTrigger(**json.loads(json.dumps(kwargs)))
        assert again.serialize() == (name, kwargs)
        assert name == "tuneflow.airflow.segments_trigger.SegmentsTrigger"

    def test_what_counts_afterwards_is_what_is_stored(self, stages, opened):
        operator = stages.trial((0, 0))
        deferral(stages, operator)
        leave(opened, 0, value=0.25)
        event = {"error": "the connection was lost", "dashboard": ""}
        (answer,) = operator.resume(stages.context, event)
        assert answer["value"] == 0.25

    def test_without_an_outcome_the_error_is_the_triggers_and_a_retry_may_help(
        self, stages, opened
    ):
        operator = stages.trial((0, 0))
        deferral(stages, operator)
        event = {"error": "trial 0: 4 workers died with it", "dashboard": ""}
        with pytest.raises(AirflowException, match="4 workers died") as caught:
            operator.resume(stages.context, event)
        assert not isinstance(caught.value, AirflowFailException)
        assert not opened.store.exists(outcome_path(0, 0))

    def test_a_connection_that_is_missing_is_told_in_a_sentence(self, stages, opened, monkeypatch):
        monkeypatch.delenv("AIRFLOW_CONN_DASK_DEFAULT")
        with pytest.raises(AirflowException, match="no Airflow connection 'dask_default'"):
            stages.execute(stages.trial((0, 0)))
