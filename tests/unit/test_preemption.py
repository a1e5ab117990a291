"""Preemption: who is told, what a trial saves, and what the simulated week says it costs."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from distributed import Status
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneflow
from benchmarks.spot_week import (
    HEADING,
    HOUR,
    MINUTE,
    PERIODS,
    Period,
    Result,
    Week,
    problems,
    section,
    simulate,
)
from tests.objectives import Runner, environ_with_repository, levels, script, until_true
from tuneflow import preemption, worker
from tuneflow.events import Closed, Launched, Reported
from tuneflow.executors import dask_preemption
from tuneflow.interrupt import Interrupts, Terminated
from tuneflow.objective import PythonObjective
from tuneflow.objective.control import Control
from tuneflow.preemption import Notice, Notices
from tuneflow.recording import record_outcome
from tuneflow.store import Store
from tuneflow.trial import Failure, Outcome, Report, Segment, outcome_path

HERE, THERE = "tcp://10.0.0.1:1", "tcp://10.0.0.2:2"


class TestNotices:
    @pytest.fixture
    def notices(self, monkeypatch):
        made = Notices()
        monkeypatch.setattr(preemption, "notices", made)
        return made

    def test_what_runs_is_told_and_what_begins_later_too(self, notices):
        early, late = Control(), Control()
        with notices.listening(early):
            preemption.announce("maintenance", grace=60)
        with notices.listening(late):
            assert (early.requested, late.requested) == ("preempt", "preempt")
        assert notices.of() == Notice("maintenance", 60)

    def test_a_notice_of_one_worker_concerns_it_alone(self, notices):
        here, there = Control(), Control()
        with notices.listening(here, HERE), notices.listening(there, THERE):
            preemption.announce("its lifetime is over", grace=60, place=HERE)
            assert (here.requested, there.requested) == ("preempt", None)
            assert not notices.is_over(HERE)
        assert notices.is_over(HERE)
        assert (notices.of(THERE), notices.of()) == (None, None)

    def test_a_notice_of_the_process_concerns_all_its_workers(self, notices):
        control = Control()
        with notices.listening(control, HERE):
            preemption.announce("maintenance", grace=60)
            assert control.requested == "preempt"
        assert notices.of(HERE) is not None

    def test_what_has_not_ended_after_the_grace_is_abandoned(self, notices):
        control = Control()
        with notices.listening(control):
            preemption.announce("maintenance", grace=0.01)
            until_true(lambda: control.requested == "abandon")

    def test_whoever_listens_hears_each_notice_once_and_those_before(self, notices):
        heard = []
        preemption.announce("one", grace=60)
        notices.hear(heard.append)
        preemption.announce("another", grace=60)
        preemption.announce("here", grace=60, place=HERE)
        assert [notice.reason for notice in heard] == ["one", "here"]
        notices.forget(heard.append, HERE)
        assert notices.of(HERE).reason == "one"

    def test_a_file_is_a_notice(self, notices, monkeypatch, tmp_path):
        path = tmp_path / "notice"
        monkeypatch.setenv(preemption.FILE, str(path))
        control = Control()
        with notices.listening(control):
            assert control.requested is None
            path.touch()
            until_true(lambda: control.requested == "preempt")
        assert str(path) in notices.of().reason

    def test_a_file_that_cannot_be_seen_now_may_be_there_later(
        self, notices, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(preemption, "_LOOK", 0.01)
        monkeypatch.setenv(preemption.FILE, "x" * 10_000)
        control = Control()
        with notices.listening(control):
            watcher = notices._watcher
            watcher.join(0.1)
            monkeypatch.setenv(preemption.FILE, str(tmp_path))
            until_true(lambda: control.requested == "preempt")

    def test_a_process_that_was_forked_looks_for_the_file_too(self, tmp_path):
        environment = {**environ_with_repository(), preemption.FILE: str(tmp_path / "notice")}
        command = [sys.executable, "-c", FORKED]
        subprocess.run(command, env=environment, check=True, timeout=60)

    def test_where_no_trial_runs_nothing_waits_for_the_end_of_its_grace(self, notices):
        before = set(threading.enumerate())
        preemption.announce("maintenance", grace=60)
        assert set(threading.enumerate()) <= before

    def test_a_grace_without_end_has_none(self, notices):
        control = Control()
        with notices.listening(control):
            notice = preemption.announce("maintenance", grace=math.inf)
        assert notice.grace == threading.TIMEOUT_MAX

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("", 25), ("90", 90), ("0.5", 0.5), ("-3", 0), ("soon", 25), ("nan", 25)],
    )
    def test_the_grace_is_what_the_environment_says(self, monkeypatch, text, seconds):
        monkeypatch.setenv(preemption.GRACE, text)
        assert preemption.grace_seconds() == seconds


class TestLeaving:
    @pytest.mark.parametrize(("said", "seconds"), [(None, 0.0), (60.0, 60.0)])
    def test_the_trials_of_a_worker_have_as_long_as_is_said(self, monkeypatch, said, seconds):
        made = Notices()
        monkeypatch.setattr(preemption, "notices", made)
        monkeypatch.setattr(dask_preemption, "notices", made)
        monkeypatch.setenv(preemption.GRACE, "0")
        if said is not None:
            preemption.announce("maintenance", grace=said)
        leaving = SimpleNamespace(
            address=HERE,
            status=Status.closing,
            state=SimpleNamespace(executing=(), long_running=()),
            log_event=lambda topic, event: None,
        )
        asyncio.run(dask_preemption.Leaving(leaving).leave("it is retired"))
        assert made.of(HERE).grace == seconds


FORKED = """
import os, time
from pathlib import Path
from tuneflow.objective.control import Control
from tuneflow.preemption import FILE, notices

with notices.listening(Control()):
    pid = os.fork()
    if pid:
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    control = Control()
    with notices.listening(control):
        Path(os.environ[FILE]).touch()
        while not control.requested:
            time.sleep(0.01)
"""


def counting(config):
    restored = tuneflow.checkpoint()
    level = int((restored / "level").read_text()) if restored else 0
    while True:
        level += 1
        text = str(level)
        tuneflow.report(
            loss=1 / level, checkpoint=lambda folder, text=text: (folder / "level").write_text(text)
        )


def preempt_at(runner, level):
    return lambda said: runner.control.preempt() if said.resource == level else None


def checkpoints(runner):
    kept = Store(runner.job.storage).list("trials/000000/checkpoints")
    return [key.rpartition("-")[2] for key in kept]


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path, checkpoint_every=1000, warm=0.0)


class TestTrials:
    @pytest.mark.parametrize("isolation", ["thread", "process"])
    @pytest.mark.parametrize("background", [True, False])
    def test_a_preempted_trial_saves_whatever_the_period_and_goes_on_from_there(
        self, runner, isolation, background
    ):
        runner.configure(isolation=isolation, background=background)
        segment = Segment(0, 0, {}, until=8)
        done = runner.run(PythonObjective(counting), segment, emit=preempt_at(runner, 3))
        assert done is None
        assert levels(runner.emitted) == [1, 2, 3, 4]
        assert checkpoints(runner) == ["4.json"]
        assert not Store(runner.job.storage).exists(outcome_path(0, 0))
        again = runner.run(PythonObjective(counting), segment)
        assert (again.status, levels(again.reports)) == ("paused", list(range(1, 9)))
        assert levels(runner.emitted) == list(range(1, 9))

    def test_one_that_reaches_its_end_ends_as_ever(self, runner):
        segment = Segment(0, 0, {}, until=4)
        done = runner.run(PythonObjective(counting), segment, emit=preempt_at(runner, 3))
        assert (done.status, levels(done.reports)) == ("paused", [1, 2, 3, 4])

    def test_one_whose_last_report_is_saved_ends_there(self, runner):
        runner.configure(checkpoint_every=1)
        done = runner.run(PythonObjective(counting), Segment(0, 0, {}), emit=preempt_at(runner, 3))
        assert (done, levels(runner.emitted)) == (None, [1, 2, 3])

    def test_one_that_has_no_checkpoints_ends_at_its_report(self, runner):
        def train(config):
            while True:
                yield 1.0

        done = runner.run(PythonObjective(train), Segment(0, 0, {}), emit=preempt_at(runner, 3))
        assert (done, levels(runner.emitted)) == (None, [1, 2, 3])

    def test_one_that_saves_now_and_then_comes_to_its_next_checkpoint(self, runner):
        runner.configure(checkpoint_every=1)

        def train(config):
            for level in range(1, 100):
                save = (lambda folder: (folder / "x").touch()) if level % 5 == 0 else None
                tuneflow.report(loss=1.0, checkpoint=save)

        done = runner.run(PythonObjective(train), Segment(0, 0, {}), emit=preempt_at(runner, 7))
        assert (done, levels(runner.emitted)[-1]) == (None, 10)

    def test_one_that_was_kept_warm_comes_to_its_next_checkpoint_too(self, runner):
        """It has gone on beyond the checkpoint that its next segment is given."""
        runner.configure(checkpoint_every=1, warm=60.0)

        def train(config):
            for level in range(1, 100):
                save = (lambda folder: (folder / "x").touch()) if level % 3 == 1 else None
                tuneflow.report(loss=1.0, checkpoint=save)

        objective = PythonObjective(train)
        paused = runner.run(objective, Segment(0, 0, {}, until=2))
        newest = paused.reports[0].checkpoint
        following = Segment(0, 1, {}, start=1, until=90, checkpoint=newest)
        done = runner.run(objective, following, emit=preempt_at(runner, 2))
        assert (done, levels(runner.emitted)) == (None, [2, 3, 4])
        assert "4.json" in checkpoints(runner)

    def test_one_that_fails_after_its_notice_may_have_failed_for_that(self, runner):
        began = threading.Event()

        def train(config):
            began.set()
            while not (tuneflow.preempted() or config["alone"]):
                time.sleep(0.001)
            raise OSError("a process that loads data is gone")

        def tell():
            began.wait(20)
            runner.control.preempt()

        threading.Thread(target=tell, daemon=True).start()
        objective = PythonObjective(train)
        assert runner.run(objective, Segment(0, 0, {"alone": False})) is None
        assert runner.run(objective, Segment(1, 0, {"alone": True})).status == "failed"

    def test_told_before_it_began_it_runs_nothing(self, runner):
        control = Control()
        control.preempt()
        objective = PythonObjective(lambda config: 1 / 0)
        assert runner.run(objective, Segment(0, 0, {}), control=control) is None

    def test_one_that_never_reports_is_ended_when_its_grace_is_over(self, runner):
        began = threading.Event()

        def train(config):
            began.set()
            threading.Event().wait(60)

        def end():
            began.wait(20)
            runner.control.preempt()
            runner.control.abandon()

        threading.Thread(target=end, daemon=True).start()
        assert runner.run(PythonObjective(train), Segment(0, 0, {})) is None

    @pytest.mark.parametrize("isolation", ["thread", "process"])
    def test_a_trial_can_ask_whether_it_is_preempted(self, runner, isolation, tmp_path):
        runner.configure(isolation=isolation)
        began = tmp_path / "began"

        def train(config):
            began.touch()
            while not tuneflow.preempted():
                time.sleep(0.001)
            tuneflow.report(loss=1.0, checkpoint=lambda folder: (folder / "x").touch())

        def tell():
            until_true(began.exists)
            runner.control.preempt()

        threading.Thread(target=tell, daemon=True).start()
        assert runner.run(PythonObjective(train), Segment(0, 0, {})) is None
        assert levels(runner.emitted) == [1]
        assert not tuneflow.preempted()

    def test_a_signal_to_all_processes_ends_no_trial_early(self, runner, tmp_path):
        runner.configure(isolation="process")
        began, signalled = tmp_path / "began", tmp_path / "signalled"

        def train(config):
            began.write_text(str(os.getpid()))
            while not signalled.exists():
                time.sleep(0.001)
            tuneflow.report(loss=2.0, checkpoint=lambda folder: (folder / "x").touch())
            tuneflow.report(loss=1.0)

        def terminate():
            until_true(lambda: began.exists() and began.read_text())
            os.kill(int(began.read_text()), signal.SIGTERM)
            signalled.touch()

        threading.Thread(target=terminate, daemon=True).start()
        outcome = runner.run(PythonObjective(train), Segment(0, 0, {}))
        assert (outcome.status, levels(outcome.reports)) == ("completed", [1, 2])

    def test_a_command_saves_after_sigterm_and_ends(self, runner, tmp_path):
        objective = script(tmp_path, SAVING)
        done = runner.run(objective, Segment(0, 0, {"lr": 1}), emit=preempt_at(runner, 1))
        assert (done, levels(runner.emitted)) == (None, [1, 2])
        assert checkpoints(runner) == ["2.json"]

    def test_a_command_that_sigterm_ends_has_not_failed(self, runner, tmp_path):
        objective = script(tmp_path, "import time; print('{\"loss\": 1}', flush=True)\n" + FOREVER)
        done = runner.run(objective, Segment(0, 0, {"lr": 1}), emit=preempt_at(runner, 1))
        assert (done, levels(runner.emitted)) == (None, [1])

    @pytest.mark.parametrize("ends", ["os.kill(os.getpid(), 15)", "sys.exit(0)", "sys.exit(1)"])
    def test_a_command_that_is_signalled_before_its_worker_has_not_ended_by_itself(
        self, runner, tmp_path, ends
    ):
        """The checkpoint that it named last was not wanted then, and counts all the same."""
        objective = script(tmp_path, SIGNALLED + ends)

        def tell():
            until_true(lambda: runner.emitted)
            (tmp_path / "go").touch()
            runner.control.preempt()

        threading.Thread(target=tell, daemon=True).start()
        segment = Segment(0, 0, {"lr": 1, "go": str(tmp_path / "go")})
        assert runner.run(objective, segment) is None
        assert checkpoints(runner) == ["1.json"]

    def test_a_command_that_somebody_ends_has_failed(self, runner, tmp_path, monkeypatch):
        monkeypatch.setattr(worker, "_NOTICE", 0.05)
        objective = script(tmp_path, "import os; os.kill(os.getpid(), 15)")
        outcome = runner.run(objective, Segment(0, 0, {"lr": 1}))
        assert (outcome.status, outcome.failure.message) == ("failed", "killed by SIGTERM")


FOREVER = "while True: time.sleep(0.01)\n"
SIGNALLED = """
import json, os, signal, sys, time
go = json.load(open(os.environ["TUNEFLOW_CONFIG"]))["go"]
open(os.environ["TUNEFLOW_CHECKPOINT_DIR"] + "/last", "w").close()
signal.signal(signal.SIGTERM, lambda number, frame: None)
print('{"loss": 0.5, "checkpoint": "last"}', flush=True)
while not os.path.exists(go): time.sleep(0.001)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
"""
SAVING = """
import os, signal, sys, time

def save(number, frame):
    open(os.environ["TUNEFLOW_CHECKPOINT_DIR"] + "/last", "w").close()
    print('{"loss": 0.5, "checkpoint": "last"}', flush=True)
    sys.exit(1)

signal.signal(signal.SIGTERM, save)
print('{"loss": 1}', flush=True)
while True: time.sleep(0.01)
"""


class TestDrivers:
    def test_sigterm_ends_a_script_as_programs_end_that_do_not_handle_it(self):
        assert isinstance(Terminated(), KeyboardInterrupt)
        with pytest.raises(SystemExit) as raised:
            raise Terminated
        assert raised.value.code == 143

    def test_a_request_says_whether_the_machine_goes(self):
        interrupts = Interrupts()
        interrupts.request(is_terminated=True)
        with pytest.raises(Terminated), interrupts.allowed():
            pass


def launched_history(max_losses):
    budget = tuneflow.Budget(max_losses_per_trial=max_losses)
    study = replace(Week(PERIODS[0], 0).study(), budget=budget)
    history = study.history()
    history.append(Launched(0, 0, None, params={"x": 0.5}))
    return study, history


def lose(study, history, *reported):
    """Lose the open segment after some reports, and launch it again."""
    trial = history.trials[0]
    for level in reported:
        history.append(Reported(0, Report(level, {"loss": 1.0}, f"c{level}")))
    failure = Failure("lost", "preempted")
    record_outcome(study, history, Outcome(0, trial.segment, "lost", failure=failure))
    closed = history.facts[-1]
    assert isinstance(closed, Closed)
    if closed.retry:
        history.append(Launched(0, trial.segment + 1, None, start=trial.resource))
    return closed.retry


def test_losses_do_not_count_against_a_trial_that_gets_on():
    study, history = launched_history(max_losses=1)
    assert all(lose(study, history, level) for level in range(1, 20))


def test_a_trial_that_does_not_get_on_is_given_up():
    study, history = launched_history(max_losses=2)
    assert lose(study, history, 1)
    assert [lose(study, history) for _ in range(2)] == [True, False]
    assert history.trials[0].state == "failed"


class TestTheWeek:
    quiet = simulate(Week(PERIODS[0], 0, machines=4, trials=8, levels=60))

    @settings(deadline=None, max_examples=60)
    @given(
        seed=st.integers(0, 2**32),
        rate=st.floats(0.1, 60),
        period=st.one_of(
            st.builds(Period, st.just("reports"), every=st.integers(1, 24)),
            st.builds(Period, st.just("time"), seconds=st.floats(MINUTE, HOUR)),
        ),
        notice=st.floats(0, 600),
    )
    def test_a_preemption_wastes_at_most_a_period_and_a_restart(self, seed, rate, period, notice):
        week = Week(period, rate, notice, machines=4, trials=8, levels=60, seed=seed)
        assert problems(simulate(week), self.quiet) == []

    def test_with_a_notice_that_suffices_it_wastes_the_restart_alone(self):
        week = Week(PERIODS[1], 30, notice=HOUR, machines=4, trials=8, levels=60)
        result = simulate(week)
        assert result.preemptions > 0
        assert result.wasted == pytest.approx(result.preemptions * week.restart)

    def test_the_table_has_a_row_for_each_week(self):
        text = section([self.quiet, self.quiet], self.quiet)
        assert text.startswith(HEADING)
        assert text.count("| each step |") == 2

    def test_what_is_wrong_is_said(self):
        bad = Result(self.quiet.week, (), failed=1, lost=0, preemptions=0, wasted=1.0, hours=1.0)
        assert len(problems(bad, self.quiet)) == 3
