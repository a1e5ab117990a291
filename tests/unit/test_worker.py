"""One segment from its start to its outcome, whatever happens in between."""

# ruff: noqa: T201 - trials under test print

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.objectives import (
    Runner,
    environ_with_repository,
    is_running,
    levels,
    losses,
    script,
    until_true,
)
from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import StorageError
from tuneflow.objective import PythonObjective
from tuneflow.objective.reference import load
from tuneflow.objective.session import TrialStopped, checkpoint, current_trial, report
from tuneflow.objective.warm import warm_trials
from tuneflow.outcomes import read_outcome
from tuneflow.store import Store
from tuneflow.trial import Segment, checkpoint_ref, log_path, outcome_path
from tuneflow.worker import Control, Job


@pytest.fixture(autouse=True)
def nothing_warm():
    yield
    warm_trials.clear()


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path, grace=5.0)


def stored(runner, outcome):
    store = Store(runner.job.storage)
    path = outcome_path(*outcome.key)
    return read_outcome(store.get(path), path)


def log_of(runner, outcome):
    return Store(runner.job.storage).get(log_path(*outcome.key)).decode()


def counting(config):
    """Count up from the checkpoint, saving the count at each report."""
    path = checkpoint()
    value = int((path / "value").read_text()) if path else 0
    while value < config.get("end", 100):
        value += 1
        yield {"loss": value}, lambda directory, v=value: (directory / "value").write_text(str(v))


def plain(config):
    """Report without checkpoints."""
    for step in range(1, 101):
        print("step", step)
        report(loss=config.get("scale", 1) * step)


def test_a_trial_that_ends_by_itself_is_completed(runner):
    outcome = runner.run(PythonObjective(lambda config: config["x"]), Segment(3, 0, {"x": 2}))
    assert outcome.status == "completed"
    assert losses(outcome.reports) == [2.0]
    assert outcome == stored(runner, outcome)
    assert tuple(runner.emitted) == outcome.reports
    assert outcome.started <= outcome.reports[0].time <= outcome.ended


def test_it_pauses_at_until_with_a_checkpoint_there(runner):
    runner.configure(checkpoint_every=2)
    outcome = runner.run(PythonObjective(counting), Segment(0, 0, {}, until=3))
    assert outcome.status == "paused"
    assert [r.checkpoint for r in outcome.reports] == [
        None,
        checkpoint_ref(0, 0, 2),
        checkpoint_ref(0, 0, 3),
    ]
    assert all(r.checkpoint is None or exists(runner, r.checkpoint) for r in outcome.reports)


def exists(runner, key):
    return Store(runner.job.storage).exists(key)


def test_a_report_is_emitted_only_once_its_checkpoint_is_stored(runner):
    def check(said):
        assert exists(runner, said.checkpoint)

    outcome = runner.run(PythonObjective(counting), Segment(0, 0, {}, until=3), emit=check)
    assert outcome.status == "paused"
    assert len(runner.emitted) == 3


def test_a_segment_that_has_an_outcome_does_not_run_again(runner):
    calls = []
    objective = PythonObjective(lambda config: calls.append(1) or 1)
    first = runner.run(objective, Segment(0, 0, {}))
    assert runner.run(objective, Segment(0, 0, {})) == first
    assert calls == [1]
    assert runner.emitted == []


def test_of_two_runs_of_a_segment_the_first_outcome_counts(runner, tmp_path):
    def racing(config):
        yield 1
        Runner(tmp_path).run(PythonObjective(lambda config: 2), Segment(0, 0, {}))
        yield 3

    outcome = runner.run(PythonObjective(racing), Segment(0, 0, {}))
    assert losses(outcome.reports) == [2.0]
    assert outcome == stored(runner, outcome)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_paused_trial_goes_on_where_it_waits(runner, isolation, tmp_path):
    starts = tmp_path / "starts"

    def train(config):
        with starts.open("a") as file:
            file.write("x")
        yield from counting(config)

    runner.configure(isolation=isolation)
    objective = PythonObjective(train)
    first = runner.run(objective, Segment(0, 0, {}, until=2))
    resumed = Segment(0, 1, {}, start=2, until=5, checkpoint=first.reports[-1].checkpoint)
    second = runner.run(objective, resumed)
    assert levels(second.reports) == [3, 4, 5]
    assert losses(second.reports) == [3, 4, 5]
    assert second.reports[-1].checkpoint == checkpoint_ref(0, 1, 5)
    assert starts.read_text() == "x"


@pytest.mark.parametrize("objective", [counting, plain], ids=["checkpoints", "none"])
def test_a_warm_and_a_cold_resume_report_the_same(tmp_path, objective):
    def run(warm):
        runner = Runner(tmp_path / str(warm), warm=warm)
        outcomes = []
        start, ref = 0, None
        for number, until in enumerate((2, 5, 6)):
            segment = Segment(0, number, {}, start=start, until=until, checkpoint=ref)
            outcomes.append(runner.run(code, segment))
            ref = outcomes[-1].reports[-1].checkpoint
            start = until if ref else 0
        return [
            [(r.resource, dict(r.metrics), r.checkpoint) for r in outcome.reports]
            for outcome in outcomes
        ]

    code = PythonObjective(objective)
    assert run(30.0) == run(0)


def test_a_trial_without_checkpoints_goes_on_warm_and_repeats_its_reports(runner):
    objective = PythonObjective(plain)
    runner.run(objective, Segment(0, 0, {}, until=2))
    second = runner.run(objective, Segment(0, 1, {}, until=4))
    assert levels(second.reports) == [1, 2, 3, 4]
    assert levels(runner.emitted) == [1, 2, 3, 4]
    assert log_of(runner, second) == "step 3\nstep 4\n"


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"scale": 2}},
        {"checkpoint": checkpoint_ref(1, 0, 2), "start": 2},
    ],
    ids=["explored", "cloned"],
)
def test_a_clone_never_goes_on_with_the_suspended_trial(runner, change):
    objective = PythonObjective(counting)
    runner.run(objective, Segment(0, 0, {}, until=4))
    runner.run(objective, Segment(1, 0, {}, until=2))
    options = {"params": {}, "start": 4, "checkpoint": checkpoint_ref(0, 0, 4), **change}
    outcome = runner.run(objective, Segment(0, 1, until=5, **options))
    assert losses(outcome.reports) == list(range(options["start"] + 1, 6))
    assert warm_trials.take(runner.job.storage, 0).reports == outcome.reports


def test_another_objective_does_not_go_on_with_the_suspended_trial(runner):
    runner.run(PythonObjective(plain), Segment(0, 0, {}, until=2))
    outcome = runner.run(PythonObjective(lambda config: iter([7, 8])), Segment(0, 1, {}, until=2))
    assert losses(outcome.reports) == [7, 8]


def test_a_trial_at_its_maximum_is_ended_and_not_kept(runner, tmp_path):
    ended = tmp_path / "ended"

    def train(config):
        try:
            yield from range(10)
        finally:
            ended.touch()

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}, until=3, max_resource=3))
    assert outcome.status == "paused"
    assert ended.exists()
    assert warm_trials.take(runner.job.storage, 0) is None


def test_its_directory_is_gone_at_the_end(runner, tmp_path):
    def train(config):
        directory = current_trial().directory
        (directory / "file").write_text("x")
        (tmp_path / "where").write_text(str(directory))
        return 1

    runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert not Path((tmp_path / "where").read_text()).parent.exists()


def test_it_starts_from_a_checkpoint_of_another_trial(runner):
    first = runner.run(PythonObjective(counting), Segment(0, 0, {}, until=3))
    clone = Segment(1, 0, {}, start=3, until=4, checkpoint=first.reports[-1].checkpoint)
    assert losses(runner.run(PythonObjective(counting), clone).reports) == [4.0]


def test_an_objective_that_has_nothing_more_to_do_completes(runner):
    objective = PythonObjective(counting)
    first = runner.run(objective, Segment(0, 0, {"end": 2}, until=2))
    ref = first.reports[-1].checkpoint
    second = runner.run(objective, Segment(0, 1, {"end": 2}, start=2, until=6, checkpoint=ref))
    assert (second.status, second.reports) == ("completed", ())


def damage_blobs(tmp_path):
    for blob in (tmp_path / "study" / "blobs").rglob("*"):
        if blob.is_file():
            blob.write_bytes(b"torn")


def test_a_damaged_start_checkpoint_fails_the_segment(tmp_path):
    runner = Runner(tmp_path, warm=0)
    first = runner.run(PythonObjective(counting), Segment(0, 0, {}, until=3))
    damage_blobs(tmp_path)
    ref = first.reports[-1].checkpoint
    outcome = runner.run(PythonObjective(counting), Segment(0, 1, {}, start=3, checkpoint=ref))
    assert outcome.status == "failed"
    assert outcome.failure.kind == "CheckpointCorruptError"
    assert outcome.failure.message.startswith(f"checkpoint {ref}: value has ")


def test_a_missing_start_checkpoint_fails_the_segment(runner):
    ref = checkpoint_ref(0, 0, 3)
    outcome = runner.run(PythonObjective(counting), Segment(0, 1, {}, start=3, checkpoint=ref))
    assert str(outcome.failure) == (
        f"CheckpointCorruptError: the checkpoint to start from, {ref}, does not exist"
    )


@pytest.mark.parametrize("name", ["abc", "²", "nan", "1\u0662", "2.json-", "-1"])
def test_what_is_no_checkpoint_among_them_is_left_alone(tmp_path, name):
    runner = Runner(tmp_path, warm=0)
    objective = PythonObjective(counting)
    first = runner.run(objective, Segment(0, 0, {}, until=3))
    strangers = [f"trials/000000/checkpoints/{number:04d}-{name}.json" for number in (0, 1)]
    for stranger in strangers:
        Store(runner.job.storage).put(stranger, b"garbage")
    damage_blobs(tmp_path)
    second = Segment(0, 1, {}, start=3, until=4, checkpoint=first.reports[-1].checkpoint)
    assert runner.run(objective, second).failure.kind == "CheckpointCorruptError"
    assert runner.run(objective, Segment(1, 0, {}, until=2)).status == "paused"
    assert all(map(Store(runner.job.storage).exists, strangers))


class Crash(BaseException):
    """Ends a run as a lost machine would: nothing is written any more."""


def crash_at(level):
    def emit(said):
        if said.resource == level:
            raise Crash

    return emit


def test_a_run_after_a_crash_goes_on_and_keeps_its_reports(runner):
    segment = Segment(0, 0, {}, until=5)
    with pytest.raises(Crash):
        runner.run(PythonObjective(counting), segment, emit=crash_at(3))
    outcome = runner.run(PythonObjective(counting), segment)
    assert outcome.status == "paused"
    assert losses(outcome.reports) == [1, 2, 3, 4, 5]
    assert tuple(runner.emitted) == outcome.reports


def test_levels_are_compared_as_numbers_after_a_crash(runner):
    segment = Segment(0, 0, {}, until=12)
    with pytest.raises(Crash):
        runner.run(PythonObjective(counting), segment, emit=crash_at(10))
    starts = []

    def train(config):
        starts.append(current_trial().start)
        yield from counting(config)

    runner.run(PythonObjective(train), segment)
    assert starts == [10]


def test_a_run_after_a_crash_at_its_end_starts_nothing(runner):
    segment = Segment(0, 0, {}, until=3)
    with pytest.raises(Crash):
        runner.run(PythonObjective(counting), segment, emit=crash_at(3))
    outcome = runner.run(PythonObjective(lambda config: 1 / 0), segment)
    assert outcome.status == "paused"
    assert losses(outcome.reports) == [1, 2, 3]


def test_a_run_after_a_crash_uses_the_newest_good_checkpoint(runner, tmp_path):
    segment = Segment(0, 0, {}, until=4)
    with pytest.raises(Crash):
        runner.run(PythonObjective(counting), segment, emit=crash_at(3))
    checkpoints = Checkpoints(Store(runner.job.storage))
    (newest,) = checkpoints.load(checkpoint_ref(0, 0, 3)).files
    (tmp_path / "study" / newest.parts[0].key).write_bytes(b"torn")
    outcome = runner.run(PythonObjective(counting), segment)
    assert losses(outcome.reports) == [1, 2, 3, 4]
    assert checkpoints.restore(checkpoint_ref(0, 0, 3), tmp_path / "restored")
    assert (tmp_path / "restored" / "value").read_text() == "3"


def test_a_run_after_a_crash_with_no_good_checkpoint_starts_over(runner, tmp_path):
    segment = Segment(0, 0, {}, until=3)
    with pytest.raises(Crash):
        runner.run(PythonObjective(counting), segment, emit=crash_at(2))
    damage_blobs(tmp_path)
    outcome = runner.run(PythonObjective(counting), segment)
    assert losses(outcome.reports) == [1, 2, 3]


KILLED = """
import sys, time
from tests.objectives import Runner
from tests.unit.test_worker import counting
from tuneflow.objective import PythonObjective
from tuneflow.trial import Segment
from pathlib import Path

def slowly(said):
    print(said.resource, flush=True)
    if said.resource == 3:
        time.sleep(60)

runner = Runner(Path(sys.argv[1]), isolation=sys.argv[2])
runner.run(PythonObjective(counting), Segment(0, 0, {}, until=5), emit=slowly)
"""


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_kill_9_in_the_middle_of_a_segment_loses_nothing_reported(runner, tmp_path, isolation):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), isolation],
        stdout=subprocess.PIPE,
        env=environ_with_repository(),
        text=True,
    )
    with process:
        for line in process.stdout:
            if line.strip() == "3":
                process.kill()
                break
    runner.configure(isolation=isolation)
    starts = tmp_path / "starts"

    def train(config):
        starts.write_text(str(current_trial().start))
        yield from counting(config)

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}, until=5))
    assert losses(outcome.reports) == [1, 2, 3, 4, 5]
    assert starts.read_text() == "3"


def test_an_exception_fails_the_trial_and_keeps_its_reports(runner):
    def train(config):
        yield 1
        raise RuntimeError("diverged\nbadly")

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert outcome.status == "failed"
    assert losses(outcome.reports) == [1]
    assert (outcome.failure.kind, outcome.failure.message) == ("RuntimeError", "diverged badly")
    assert "in train" in outcome.failure.traceback
    assert stored(runner, outcome) == outcome


def test_nan_is_a_metric(runner):
    outcome = runner.run(PythonObjective(lambda config: float("nan")), Segment(0, 0, {}))
    assert outcome.status == "completed"
    assert str(losses(stored(runner, outcome).reports)) == "[nan]"


def test_a_metric_that_no_report_has_fails_the_trial_with_the_nearest_name(runner):
    outcome = runner.run(PythonObjective(lambda config: {"los": 1, "x": 2}), Segment(0, 0, {}))
    assert str(outcome.failure) == (
        "metric: <lambda> reported no 'loss'; it reported 'los', 'x'; did you mean 'los'?"
    )


def test_a_metric_that_is_missing_at_a_rung_fails_the_trial(runner):
    outcome = runner.run(
        PythonObjective(lambda config: iter([{"x": 1}] * 3)), Segment(0, 0, {}, until=2)
    )
    assert str(outcome.failure) == "metric: <lambda> reported no 'loss'; it reported 'x'"
    assert warm_trials.take(runner.job.storage, 0) is None


def test_a_metric_may_be_missing_in_some_reports(runner):
    outcome = runner.run(
        PythonObjective(lambda config: iter([{"x": 1}, {"loss": 1}, {"x": 1}])), Segment(0, 0, {})
    )
    assert outcome.status == "completed"


def test_a_function_that_says_nothing_is_told_what_to_say(runner):
    outcome = runner.run(PythonObjective(lambda config: None), Segment(0, 0, {}))
    assert str(outcome.failure) == (
        "metric: <lambda> reported no 'loss'; return a number or a dict with 'loss', yield one "
        "after each step, or call tuneflow.report({'loss': …})"
    )


def test_a_command_that_never_prints_the_metric_fails_with_what_it_printed(runner, tmp_path):
    outcome = runner.run(script(tmp_path, "print('loss = 0.5')\n"), Segment(0, 0, {"lr": 1}))
    assert outcome.failure.kind == "metric"
    assert "reported no 'loss'; print a line such as {\"loss\": 0.5}" in outcome.failure.message
    assert outcome.failure.traceback == "loss = 0.5"


def test_a_command_that_cannot_start_fails_its_trial(runner):
    outcome = runner.run(load({"command": ["no-such-program"]}), Segment(0, 0, {}))
    assert outcome.failure.kind == "ObjectiveError"
    assert "cannot start 'no-such-program'" in outcome.failure.message


def test_a_checkpoint_that_cannot_be_stored_fails_the_trial(runner, tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    outcome = runner.run(
        PythonObjective(lambda config: report(loss=1, checkpoint=tmp_path)), Segment(0, 0, {})
    )
    assert outcome.failure.kind == "SpecError"
    assert outcome.reports == ()


COUNTING = """
import json, os, pathlib, sys, time
restore = os.environ.get("TUNEFLOW_RESTORE_DIR")
value = int(pathlib.Path(restore, "value").read_text()) if restore else 0
while True:
    value += 1
    folder = pathlib.Path(os.environ["TUNEFLOW_CHECKPOINT_DIR"], str(value))
    folder.mkdir()
    (folder / "value").write_text(str(value))
    print(json.dumps({"loss": value, "checkpoint": str(value)}))
    time.sleep(0.01)
"""


def test_a_command_pauses_and_goes_on_from_its_checkpoint(runner, tmp_path):
    objective = script(tmp_path, COUNTING)
    first = runner.run(objective, Segment(0, 0, {"lr": 1}, until=2))
    assert (first.status, losses(first.reports)) == ("paused", [1, 2])
    ref = first.reports[-1].checkpoint
    second = runner.run(objective, Segment(0, 1, {"lr": 1}, start=2, until=4, checkpoint=ref))
    assert losses(second.reports) == [3, 4]
    assert levels(second.reports) == [3, 4]


def test_a_command_that_ignores_sigterm_is_killed_at_its_pause(tmp_path):
    runner = Runner(tmp_path, grace=0.3)
    text = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('{\"loss\": %d}' % os.getpid())\n"
        "time.sleep(60)\n"
    )
    outcome = runner.run(script(tmp_path, text), Segment(0, 0, {"lr": 1}, until=1))
    assert outcome.status == "paused"
    assert not is_running(int(outcome.reports[0].metrics["loss"]))


def test_the_log_is_stored_and_nothing_when_there_is_none(runner):
    def train(config):
        print("hello")
        return 1

    outcome = runner.run(PythonObjective(train), Segment(0, 0, {}))
    assert log_of(runner, outcome) == "hello\n"
    quiet = runner.run(PythonObjective(lambda config: 1), Segment(1, 0, {}))
    assert not exists(runner, log_path(*quiet.key))


def forever(config):
    """Report for ever, and say so when it is stopped."""
    try:
        while True:
            report(loss=1)
    except TrialStopped:
        print("stopped")
        raise


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_told_to_stop_it_ends_at_its_report(runner, isolation):
    runner.configure(isolation=isolation)
    outcome = runner.run(
        PythonObjective(forever),
        Segment(0, 0, {}),
        emit=lambda said: runner.control.stop() if said.resource == 3 else None,
    )
    assert outcome.status == "stopped"
    assert levels(outcome.reports) == [1, 2, 3]
    assert log_of(runner, outcome) == "stopped\n"


def test_told_to_stop_at_its_last_report_it_is_paused_all_the_same(runner):
    outcome = runner.run(
        PythonObjective(forever),
        Segment(0, 0, {}, until=2),
        emit=lambda said: runner.control.stop() if said.resource == 2 else None,
    )
    assert outcome.status == "paused"


def test_told_to_abandon_it_leaves_no_outcome(runner):
    segment = Segment(0, 0, {}, until=5)
    outcome = runner.run(
        PythonObjective(counting), segment, emit=lambda said: runner.control.abandon()
    )
    assert outcome is None
    assert not exists(runner, outcome_path(0, 0))
    again = runner.run(PythonObjective(counting), segment)
    assert losses(again.reports) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("how", "status"), [("stop", "stopped"), ("abandon", None)])
def test_told_before_it_began_it_runs_nothing(runner, how, status):
    control = Control()
    control.request(how)
    outcome = runner.run(PythonObjective(lambda config: 1 / 0), Segment(0, 0, {}), control=control)
    assert (outcome.status if outcome else None) == status


def test_stopped_before_it_began_again_it_keeps_what_it_reported(runner):
    segment = Segment(0, 0, {})
    with pytest.raises(Crash):
        runner.run(PythonObjective(counting), segment, emit=crash_at(2))
    control = Control()
    control.stop()
    outcome = runner.run(PythonObjective(counting), segment, control=control)
    assert (outcome.status, losses(outcome.reports)) == ("stopped", [1, 2])


def in_background(runner, objective, segment):
    """Run a segment in a thread; return the thread and where its outcome will be."""
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(runner.run(objective, segment)))
    thread.start()
    return thread, outcomes


@pytest.mark.parametrize(("how", "status"), [("stop", "stopped"), ("abandon", None)])
@pytest.mark.parametrize("form", ["process", "command"])
def test_an_objective_that_computes_can_be_ended_unless_it_is_a_thread(tmp_path, how, status, form):
    started = tmp_path / "started"

    def train(config):
        started.touch()
        time.sleep(60)

    runner = Runner(tmp_path, isolation="process", grace=2.0)
    objective = PythonObjective(train)
    if form == "command":
        objective = load({"command": ["sh", "-c", f"touch {started}; sleep 60"]})
    thread, outcomes = in_background(runner, objective, Segment(4, 2, {}))
    until_true(started.exists)
    runner.control.request(how)
    thread.join(20)
    assert [outcome and outcome.status for outcome in outcomes] == [status]


def test_a_thread_that_computes_stops_at_its_next_report(runner):
    began, go_on = threading.Event(), threading.Event()

    def train(config):
        began.set()
        go_on.wait(30)
        yield 1
        yield 2

    thread, outcomes = in_background(runner, PythonObjective(train), Segment(0, 0, {}))
    assert began.wait(20)
    runner.control.stop()
    go_on.set()
    thread.join(20)
    (outcome,) = outcomes
    assert outcome.status == "stopped"
    assert len(outcome.reports) <= 1


@pytest.mark.parametrize("form", ["process", "command", "thread"])
def test_a_timeout_fails_the_trial(tmp_path, form):
    released = threading.Event()

    def train(config):
        yield 1
        released.wait(60)

    # A process has to start first.
    isolation, timeout = ("process", 5) if form == "process" else ("thread", 0.7)
    runner = Runner(tmp_path, isolation=isolation, timeout=timeout)
    objective = PythonObjective(train if form == "thread" else sleeper)
    if form == "command":
        objective = load({"command": ["sh", "-c", "echo '{{\"loss\": 1}}'; sleep 60"]})
    outcome = runner.run(objective, Segment(0, 0, {}))
    released.set()
    assert (outcome.status, losses(outcome.reports)) == ("failed", [1])
    assert outcome.failure.kind == "timeout"
    note = "; its thread runs on, which 'isolation: process' would prevent"
    expected = f"the segment took more than {timeout} seconds" + (note if form == "thread" else "")
    assert outcome.failure.message == expected


def sleeper(config):
    yield 1
    time.sleep(60)


def test_the_objectives_own_timeout_counts_too(runner):
    objective = load({"command": ["sleep", "60"], "timeout": 0.3})
    outcome = runner.run(objective, Segment(0, 0, {}))
    assert outcome.failure.message == "the segment took more than 0.3 seconds"


def test_time_that_the_driver_takes_is_not_the_objectives(tmp_path):
    runner = Runner(tmp_path, timeout=0.5)
    outcome = runner.run(
        PythonObjective(lambda config: iter([1, 2])),
        Segment(0, 0, {}),
        emit=lambda said: time.sleep(0.6),
    )
    assert outcome.status == "completed"


def test_a_driver_that_fails_leaves_no_outcome_and_nothing_running(runner, tmp_path):
    ended = tmp_path / "ended"

    def train(config):
        try:
            yield from range(10)
        finally:
            ended.touch()

    def broken(said):
        raise StorageError("the storage is gone")

    with pytest.raises(StorageError):
        runner.run(PythonObjective(train), Segment(0, 0, {}), emit=broken)
    assert ended.exists()
    assert not exists(runner, outcome_path(0, 0))


def test_environment_variables_of_the_job_come_before_the_objectives(tmp_path):
    runner = Runner(tmp_path, env={"GPU": "3"}, isolation="process")
    code = PythonObjective(lambda config: int(os.environ["GPU"]), {"GPU": "1"})
    assert losses(runner.run(code, Segment(0, 0, {})).reports) == [3]
    command = load({"command": ["sh", "-c", 'echo "{{\\"loss\\": $GPU}}"'], "env": {"GPU": "1"}})
    assert losses(runner.run(command, Segment(1, 0, {})).reports) == [3]


def test_a_job_survives_json():
    job = Job("file:///x", "loss", "process", 3.5, 2, {"A": "b"}, 1.0, 0.0, {"gpu": 0.5})
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_a_store_can_be_given(tmp_path):
    runner = Runner(tmp_path)
    store = Store(f"memory://{tmp_path.name}")
    outcome = runner.run(PythonObjective(lambda config: 1), Segment(0, 0, {}), store=store)
    assert store.exists(outcome_path(*outcome.key))
