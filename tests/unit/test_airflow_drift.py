"""A metric that has drifted, as a task: it succeeds, or it is skipped."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.airflow_operators import within
from tests.places import new_url
from tuneflow.airflow import DriftOperator
from tuneflow.errors import SpecError
from tuneflow.retune.champions import ChampionLog
from tuneflow.store import Store

ASSET = Asset("drift")


@pytest.fixture
def monitor(tmp_path):
    """Write a value down, and return the file that it is in."""

    def write(value):
        with (tmp_path / "metrics.jsonl").open("a") as lines:
            lines.write(json.dumps({"accuracy": value}) + "\n")
        return str(tmp_path / "metrics.jsonl")

    return write


def looking(url, **more):
    return DriftOperator(
        task_id="look", url=url, **{"metric": "accuracy", "below": 0.9, "outlets": [ASSET], **more}
    )


def look(operator):
    """Execute an operator; return what it returned, and the extra of its asset's event."""
    events = defaultdict(lambda: SimpleNamespace(extra=None))
    said = within(operator, lambda: operator.execute({"outlet_events": events}))
    return said, events[ASSET].extra


def begun(ago):
    """Return the storage of a line "digits" whose newest retune has begun a while ago."""
    url = new_url()
    log = ChampionLog(Store(f"{url}/digits"), now=lambda: datetime.now(UTC) - ago)
    log.begin(run="then")
    return url


def test_a_metric_that_has_drifted_is_told_to_who_waits_for_the_asset(monitor):
    monitor(0.95)
    said, extra = look(looking(monitor(0.85)))
    assert said == extra
    assert said == {
        "metric": "accuracy",
        "value": 0.85,
        "is_drifted": True,
        "sentence": "accuracy has drifted: 0.85 is below 0.9",
    }


def test_while_a_metric_is_fine_the_task_is_skipped(monitor):
    monitor(0.85)
    with pytest.raises(AirflowSkipException, match=r"0\.95 is not below 0\.9"):
        look(looking(monitor(0.95)))


def test_a_file_that_is_missing_is_said_in_one_sentence(tmp_path):
    with pytest.raises(AirflowFailException, match="there is no file at"):
        look(looking(str(tmp_path / "nothing.json")))


def test_a_retune_that_has_just_begun_gets_the_time_to_make_it_better(monitor):
    where = {"storage": begun(timedelta(hours=2)), "name": "digits"}
    url = monitor(0.5)
    with pytest.raises(AirflowSkipException, match=r"retune 1 has begun at .*, less than 1 day"):
        look(looking(url, **where))
    said, _ = look(looking(url, **where, pause=timedelta(hours=1)))
    assert said["is_drifted"]


def test_a_line_without_retunes_holds_nothing_up(monitor):
    said, _ = look(looking(monitor(0.5), storage=new_url(), name="digits"))
    assert said["is_drifted"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"below": None}, "below"),
        ({"below": float("nan")}, "below"),
        ({"above": 0.5}, "below"),
        ({"storage": "memory://x"}, "name"),
        ({"name": "digits"}, "storage"),
        ({"storage": "memory://x", "name": "a/b"}, "name"),
    ],
)
def test_what_cannot_work_is_an_error_of_the_dags_file(settings, field):
    with DAG("d", schedule=None), pytest.raises(SpecError) as caught:
        looking("metrics.json", **settings)
    assert caught.value.field == field
