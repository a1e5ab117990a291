"""The inline executor: in step with the driver, one segment at a time."""

from __future__ import annotations

import threading

import pytest

from tuneflow.errors import StorageError
from tuneflow.executors.base import Ended, Progress
from tuneflow.executors.inline import InlineExecutor
from tuneflow.objective import PythonObjective
from tuneflow.trial import Segment
from tuneflow.worker import Job

PATIENCE = 30


@pytest.fixture
def job(tmp_path):
    return Job(storage=(tmp_path / "study").as_uri(), metric="loss")


@pytest.fixture
def steps():
    """The steps that the objective has taken, as pairs of trial and step."""
    return []


@pytest.fixture
def executor(job, steps):
    """An executor whose trials make as many steps as their configuration says."""

    def train(config):
        for step in range(1, config["steps"] + 1):
            steps.append((config["trial"], step))
            yield {"loss": 1 / step}

    with InlineExecutor() as executor:
        executor.open(job, PythonObjective(train))
        yield executor


def segment(trial, steps=3, **fields):
    return Segment(trial, 0, {"trial": trial, "steps": steps}, **fields)


def until_ended(executor):
    messages = []
    while not (messages and isinstance(messages[-1], Ended)):
        messages += executor.wait(PATIENCE)
    return messages


def test_it_has_one_slot(executor):
    assert executor.slots == 1


def test_without_work_the_wait_is_over_after_the_timeout(executor):
    assert executor.wait(0) == []


def test_each_report_is_handed_over_before_the_next_step_is_taken(executor, steps):
    executor.submit(segment(0))
    for step in (1, 2, 3):
        (message,) = executor.wait(PATIENCE)
        assert message == Progress(0, 0, message.report, "inline")
        assert message.report.resource == step
        assert steps[-1] == (0, step)
    (end,) = executor.wait(PATIENCE)
    assert end.outcome.status == "completed"
    assert [report.resource for report in end.outcome.reports] == [1, 2, 3]


def test_a_stop_decided_from_a_report_comes_before_the_next_step(executor, steps):
    executor.submit(segment(0, steps=1000))
    executor.wait(PATIENCE)
    executor.cancel(0, 0)
    (end,) = executor.wait(PATIENCE)
    assert end.outcome.status == "stopped"
    assert steps == [(0, 1)]


def test_segments_run_in_the_order_of_their_submission(executor, steps):
    for trial in (2, 0, 1):
        executor.submit(segment(trial, steps=2))
    ended = [until_ended(executor)[-1].outcome.trial for _ in range(3)]
    assert ended == [2, 0, 1]
    assert steps == [(2, 1), (2, 2), (0, 1), (0, 2), (1, 1), (1, 2)]


def test_a_segment_that_has_not_ended_is_not_submitted_twice(executor, steps):
    executor.submit(segment(0, steps=1))
    executor.submit(segment(0, steps=1))
    executor.wait(PATIENCE)
    executor.submit(segment(0, steps=1))
    until_ended(executor)
    assert executor.wait(0) == []
    assert steps == [(0, 1)]


def test_a_waiting_segment_is_taken_back_without_reports(executor, steps):
    executor.submit(segment(0))
    executor.submit(segment(1))
    executor.cancel(1, 0)
    messages = until_ended(executor)
    assert (messages[-1].outcome.key, messages[-1].outcome.status) == ((1, 0), "stopped")
    until_ended(executor)
    assert {trial for trial, _ in steps} == {0}


def test_stopping_what_is_not_there_does_nothing(executor):
    executor.cancel(5, 0)
    assert executor.wait(0) == []


def test_a_segment_pauses_and_goes_on(executor, steps):
    executor.submit(segment(0, until=1))
    assert until_ended(executor)[-1].outcome.status == "paused"
    executor.submit(Segment(0, 1, {"trial": 0, "steps": 3}, until=2))
    outcome = until_ended(executor)[-1].outcome
    assert outcome.status == "paused"
    assert outcome.reports[-1].resource == 2
    assert steps == [(0, 1), (0, 2)]


def test_an_objective_that_raises_fails_its_segment_and_not_the_executor(job):
    def train(config):
        raise ValueError("no such layer")

    with InlineExecutor() as executor:
        executor.open(job, PythonObjective(train))
        executor.submit(segment(0))
        executor.submit(segment(1))
        failures = [until_ended(executor)[-1].outcome.failure for _ in range(2)]
    assert [failure.kind for failure in failures] == ["ValueError", "ValueError"]


def test_a_failing_storage_is_raised_in_the_driver(tmp_path):
    (tmp_path / "study").write_text("a file where the study's folder should be")
    job = Job(storage=(tmp_path / "study").as_uri(), metric="loss")
    with InlineExecutor() as executor:
        executor.open(job, PythonObjective(lambda config: 1.0))
        executor.submit(segment(0))
        with pytest.raises(StorageError):
            until_ended(executor)


def test_a_wait_that_times_out_does_not_let_a_report_through_twice(job):
    entered, leave = threading.Event(), threading.Event()

    def train(config):
        yield {"loss": 1.0}
        entered.set()
        leave.wait(PATIENCE)
        yield {"loss": 0.5}
        yield {"loss": 0.2}

    with InlineExecutor() as executor:
        executor.open(job, PythonObjective(train))
        executor.submit(segment(0))
        executor.wait(PATIENCE)
        assert executor.wait(0.01) == []
        entered.wait(PATIENCE)
        leave.set()
        assert [m.report.resource for m in executor.wait(PATIENCE)] == [2]
        executor.cancel(0, 0)
        (end,) = executor.wait(PATIENCE)
    assert [report.resource for report in end.outcome.reports] == [1, 2]


def test_leaving_it_with_an_error_ends_the_trial_without_an_outcome(job, tmp_path, steps):
    def train(config):
        try:
            yield {"loss": 1.0}
            yield {"loss": 0.5}
        finally:
            steps.append("closed")

    def interrupted():
        with InlineExecutor() as executor:
            executor.open(job, PythonObjective(train))
            executor.submit(segment(0))
            executor.submit(segment(1))
            executor.wait(PATIENCE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert steps == ["closed"]
    assert not list(tmp_path.rglob("segments/*"))
