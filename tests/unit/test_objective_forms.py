"""Every form of Python objective as a stream of reports, in a thread and in a process."""

from __future__ import annotations

import logging
import os
import threading
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from tests.objectives import context, levels, pull, pull_all
from tuneflow.errors import ObjectiveError
from tuneflow.objective import PythonObjective, with_parameters
from tuneflow.objective.session import TrialStopped, checkpoint, current_trial, report


@pytest.fixture(params=["thread", "process"])
def opened(request, tmp_path):
    """Open an objective in a thread or in a process; all streams are closed at the end."""
    streams = []

    def open_stream(target, **options):
        objective = PythonObjective(target)
        if request.param == "process":
            objective = objective.isolated()
        stream = objective.open(context(tmp_path, **options))
        streams.append(stream)
        return stream

    yield open_stream
    for stream in streams:
        stream.close(5)


@pytest.mark.parametrize(
    "value", [0.25, {"loss": 0.25}, np.float32(0.25), {"loss": np.array(0.25)}]
)
def test_a_returned_value_is_the_one_report(opened, value):
    reports, failure = pull_all(opened(lambda config: value))
    assert failure is None
    assert [(r.resource, r.metrics) for r in reports] == [(1, {"loss": 0.25})]


def test_the_configuration_is_the_functions_own_copy(opened, tmp_path):
    def train(config):
        config["opt"]["name"] = "changed"
        return {"loss": config["lr"], "kept": current_trial().params["opt"]["name"] == "sgd"}

    (only,), _ = pull_all(opened(train))
    assert only.metrics == {"loss": 0.5, "kept": 1.0}


def test_a_generator_reports_what_it_yields_and_returns(opened):
    def train(config):
        yield 3
        yield {"loss": 2, "accuracy": True}
        return {"loss": 1}

    reports, failure = pull_all(opened(train))
    assert failure is None
    assert levels(reports) == [1, 2, 3]
    assert [r.metrics for r in reports] == [
        {"loss": 3.0},
        {"loss": 2.0, "accuracy": 1.0},
        {"loss": 1.0},
    ]


def test_a_generator_yields_metrics_with_a_checkpoint_writer(opened):
    def train(config):
        for epoch in (1, 2):
            yield (
                {"loss": epoch},
                lambda directory, e=epoch: (directory / "state").write_text(str(e)),
            )

    stream = opened(train)
    assert (pull(stream).checkpoint / "state").read_text() == "1"
    second = pull(stream)
    assert second.temporary
    assert (second.checkpoint / "state").read_text() == "2"


def test_a_function_reports_by_mapping_and_keywords_at_its_own_levels(opened):
    def train(config):
        report({"loss": 1.5}, accuracy=Decimal("0.5"), resource=10)
        report(loss=1)
        report(loss=np.int64(0), resource=np.int64(20))
        report(loss=float("nan"), resource=20.5)

    reports, failure = pull_all(opened(train))
    assert failure is None
    assert levels(reports) == [10, 11, 20, 20.5]
    assert reports[0].metrics == {"loss": 1.5, "accuracy": 0.5}
    assert all(type(r.resource) is int for r in reports[:3])


class Counter:
    """Ray Tune's shape, with a file as its checkpoint."""

    def setup(self, config, offset=0):
        self.value = offset

    def step(self):
        self.value += 1
        return {"loss": self.value} if self.value < 1004 else None

    def save(self, directory):
        (directory / "value").write_text(str(self.value))

    def restore(self, directory):
        self.value = int((directory / "value").read_text())


def test_a_class_is_stepped_until_it_returns_none(opened):
    reports, failure = pull_all(opened(with_parameters(Counter, offset=1000)))
    assert failure is None
    assert [r.metrics["loss"] for r in reports] == [1001, 1002, 1003]
    assert [(r.checkpoint / "value").read_text() for r in reports] == ["1001", "1002", "1003"]


def test_a_class_goes_on_from_its_checkpoint(opened, tmp_path):
    (tmp_path / "restore").mkdir()
    (tmp_path / "restore" / "value").write_text("5")
    stream = opened(Counter, restore=tmp_path / "restore", start=5)
    first = pull(stream)
    assert (first.resource, first.metrics) == (6, {"loss": 6.0})


def test_a_class_without_restore_says_so(opened, tmp_path):
    class Forgetful:
        def setup(self, config): ...

        def step(self):
            return 1

    (tmp_path / "restore").mkdir()
    _, failure = pull_all(opened(Forgetful, restore=tmp_path / "restore", start=5))
    assert failure.message == (
        "Forgetful saves checkpoints but has no restore(directory) to load one"
    )


def test_data_is_passed_beside_the_configuration(opened):
    bound = with_parameters(with_parameters(lambda config, x, y: x + y, x=1, y=1), y=2)
    (only,), _ = pull_all(opened(bound))
    assert only.metrics == {"loss": 3.0}
    assert bound.parameters == {"x": 1, "y": 2}


def test_data_is_passed_to_a_generator(opened):
    def train(config, data):
        yield from data

    reports, _ = pull_all(opened(with_parameters(train, data=[4, 5])))
    assert [r.metrics["loss"] for r in reports] == [4, 5]


def test_a_trial_knows_what_it_is(opened, tmp_path):
    def train(config):
        info = current_trial()
        (info.directory / "mine").write_text("x")
        return {
            "loss": 0,
            "trial": info.number,
            "start": info.start,
            "until": info.until,
            "max": info.max_resource,
            "fresh": checkpoint() is None,
        }

    (only,), failure = pull_all(opened(train, start=2, until=9, max_resource=27))
    assert failure is None
    expected = {"loss": 0, "trial": 7, "start": 2, "until": 9, "max": 27, "fresh": 1}
    assert only.metrics == expected
    assert (tmp_path / "trial" / "work" / "mine").read_text() == "x"


def test_the_restored_checkpoint_is_found(opened, tmp_path):
    (tmp_path / "restore").mkdir()
    (tmp_path / "restore" / "epoch").write_text("4")

    def train(config):
        return int((checkpoint() / "epoch").read_text())

    (only,), _ = pull_all(opened(train, restore=tmp_path / "restore"))
    assert only.metrics == {"loss": 4.0}


def test_checkpoints_are_made_only_when_wanted_and_where_the_segment_ends(opened):
    def train(config):
        for _ in range(4):
            report(loss=1, checkpoint=lambda directory: (directory / "f").write_text("x"))

    stream = opened(train, every=3, until=4)
    assert [pull(stream).checkpoint is not None for _ in range(4)] == [False, False, True, True]


def test_a_checkpoint_may_be_a_path_that_exists(opened, tmp_path):
    file = tmp_path / "model.bin"

    def train(config):
        file.write_text("weights")
        report(loss=1, checkpoint=str(file))
        report(loss=1, checkpoint=tmp_path / "missing")

    stream = opened(train)
    first = pull(stream)
    assert (first.checkpoint, first.temporary) == (file, False)
    _, failure = pull_all(stream)
    assert failure.kind == "FileNotFoundError"
    assert "missing' does not exist" in failure.message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: report(loss="low"), "metric 'loss' is 'low' (str); metrics are numbers"),
        (lambda: report({"loss": None}), "metric 'loss' is None (NoneType); metrics are numbers"),
        (lambda: report(loss=np.zeros(3)), "metric 'loss' is array([0., 0., 0.]) (ndarray), not"),
        (lambda: report([1]), "report() takes a mapping or keywords, not [1]"),
        (lambda: report(loss=1, resource="1"), "resource is '1' (str)"),
        (lambda: report(loss=1, resource=True), "resource is True; it must be a number"),
    ],
)
def test_what_is_no_number_is_refused_by_name(opened, make, message):
    _, failure = pull_all(opened(lambda config: make()))
    assert failure.kind == "TypeError"
    assert failure.message.startswith(message)


@pytest.mark.parametrize("resource", [3, 2, float("nan"), float("inf")])
def test_a_level_that_does_not_grow_is_refused(opened, resource):
    _, failure = pull_all(opened(lambda config: report(loss=1, resource=resource), start=3))
    assert failure.kind == "ValueError"
    assert "must be finite and above 3" in failure.message


@pytest.mark.parametrize("value", ["text", [1, 2], {1, 2}])
def test_a_return_value_that_is_no_metric_is_refused(opened, value):
    _, failure = pull_all(opened(lambda config: value))
    assert failure.kind == "TypeError"
    assert failure.message == (
        f"the objective returned {value!r} ({type(value).__name__}); give a number or a mapping "
        "of metric names to numbers"
    )


def test_an_exception_is_a_failure_with_the_users_lines_alone(opened):
    def inner():
        return {}["missing"]

    def train(config):
        yield 1
        inner()

    reports, failure = pull_all(opened(train))
    assert levels(reports) == [1]
    assert (failure.kind, failure.message) == ("KeyError", "'missing'")
    assert "in inner" in failure.traceback
    assert "objective/forms.py" not in failure.traceback
    assert failure.traceback.startswith("Traceback (most recent call last):")


def test_a_huge_traceback_is_cut(opened):
    def train(config):
        raise ValueError("x" * 100_000)

    _, failure = pull_all(opened(train))
    assert len(failure.traceback) < 25_000
    assert len(failure.message) < 2_100


@pytest.mark.parametrize(
    ("code", "expected"), [(0, None), (None, None), (3, "exit: exited with status 3")]
)
def test_sys_exit_ends_the_trial_by_its_status(opened, code, expected):
    def train(config):
        report(loss=1)
        raise SystemExit(code)

    reports, failure = pull_all(opened(train))
    assert levels(reports) == [1]
    assert (str(failure) if failure else None) == expected


def test_the_objective_is_suspended_between_pulls(opened, tmp_path):
    seen = tmp_path / "seen"

    def train(config):
        for step in range(3):
            seen.write_text(str(step))
            report(loss=step)

    stream = opened(train)
    pull(stream)
    assert stream.close(5)
    assert seen.read_text() == "0"


def test_closing_raises_trial_stopped_past_except_exception(opened, tmp_path):
    ending = tmp_path / "ending"

    def train(config):
        try:
            while True:
                try:
                    report(loss=1)
                except Exception:  # noqa: BLE001 - it is what must not catch
                    ending.write_text("swallowed")
        except TrialStopped:
            ending.write_text("stopped")
            raise

    stream = opened(train)
    pull(stream)
    assert stream.close(10)
    assert ending.read_text() == "stopped"


def test_closing_closes_a_generator(opened, tmp_path):
    ending = tmp_path / "ending"

    def train(config):
        try:
            while True:
                yield 1
        finally:
            ending.write_text("closed")

    stream = opened(train)
    pull(stream)
    assert stream.close(10)
    assert ending.read_text() == "closed"


def test_closing_cleans_up_a_class(opened, tmp_path):
    ending = tmp_path / "ending"

    class Trainable:
        def setup(self, config): ...

        def step(self):
            return 1

        def cleanup(self):
            ending.write_text("cleaned")

    stream = opened(Trainable)
    pull(stream)
    assert stream.close(10)
    assert ending.read_text() == "cleaned"


def test_an_objective_that_reports_while_it_is_stopped_is_stopped_again(opened, tmp_path):
    ending = tmp_path / "ending"

    def train(config):
        try:
            while True:
                report(loss=1)
        finally:
            try:
                report(loss=2)
            except TrialStopped:
                ending.write_text("again")

    stream = opened(train)
    pull(stream)
    assert stream.close(10)
    assert ending.read_text() == "again"


def test_a_thread_of_the_objective_reports_to_the_only_live_trial(opened):
    def train(config):
        helper = threading.Thread(target=lambda: report(loss=1))
        helper.start()
        helper.join()

    reports, failure = pull_all(opened(train))
    assert failure is None
    assert levels(reports) == [1]


def test_what_is_no_callable_is_refused():
    with pytest.raises(ObjectiveError, match="the objective is 3; it must be a function"):
        PythonObjective(3)
    with pytest.raises(ObjectiveError, match="takes a function or a class, not 3"):
        with_parameters(3, x=1)


def test_a_class_with_a_call_method_is_a_function(opened):
    class Train:
        def __call__(self, config):
            return config["lr"]

    objective = PythonObjective(Train())
    assert objective.name == "Train"
    (only,), _ = pull_all(opened(Train()))
    assert only.metrics == {"loss": 0.5}


def test_environment_variables_are_set(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAVOUR", "")
    objective = PythonObjective(lambda config: len(os.environ["FLAVOUR"]), {"FLAVOUR": "abc"})
    for opened_objective in (objective, objective.isolated()):
        (only,), _ = pull_all(opened_objective.open(context(tmp_path)))
        assert only.metrics == {"loss": 3.0}


def test_outside_of_a_study_reports_are_logged(caplog):
    with caplog.at_level(logging.INFO, logger="tuneflow"):
        report({"loss": 1}, accuracy=2)
    assert caplog.messages == ["report: {'loss': 1.0, 'accuracy': 2.0}"]
    with pytest.raises(TypeError, match="metric 'loss' is 'x'"):
        report(loss="x")


def test_outside_of_a_study_there_is_no_checkpoint_and_no_trial():
    assert checkpoint() is None
    with pytest.raises(ObjectiveError, match="outside of a trial"):
        current_trial()


def test_a_writer_that_raises_leaves_no_directory(tmp_path):
    def broken(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise OSError("disk full")

    stream = PythonObjective(lambda config: report(loss=1, checkpoint=broken)).open(
        context(tmp_path)
    )
    _, failure = pull_all(stream)
    assert str(failure) == "OSError: disk full"
    assert list((tmp_path / "trial" / "checkpoints").iterdir()) == []
