"""At which reports checkpoints are wanted, by a clock that the tests turn."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest

from tests.objectives import Runner, context, pull_all
from tuneflow.objective import PythonObjective
from tuneflow.objective.command import CommandStream
from tuneflow.objective.period import Period
from tuneflow.objective.process import context_from_json, context_to_json
from tuneflow.objective.reference import load
from tuneflow.objective.session import Session
from tuneflow.trial import Segment, checkpoint_ref


class Clock:
    """Tells the time that it was set to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def wanted(period, clock, levels, pace=1.0):
    """Return the levels at which one is wanted, where one is saved at each of these."""
    found = []
    for level in levels:
        clock.now += pace
        if period.is_over(level):
            found.append(level)
            period.saved()
    return found


@pytest.mark.parametrize(
    ("every", "seconds", "expected"),
    [
        (1, None, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (4, None, [4, 8]),
        (None, None, []),
        (None, 30, [3, 6, 9]),
        (None, 25, [3, 6, 9]),
        (4, 30, [3, 6, 9]),
        (2, 30, [2, 4, 6, 8]),
        (None, 1e9, []),
    ],
)
def test_whichever_period_is_over_first(tmp_path, clock, every, seconds, expected):
    period = Period(context(tmp_path, every=every, seconds=seconds), clock)
    assert wanted(period, clock, range(1, 10), pace=10.0) == expected


def test_both_count_from_the_last_one_saved(tmp_path, clock):
    period = Period(context(tmp_path, every=4, seconds=60), clock)
    assert wanted(period, clock, [1], pace=60.0) == [1]
    assert wanted(period, clock, [2, 3, 4, 5]) == [5]
    assert wanted(period, clock, [6], pace=59.0) == []
    assert wanted(period, clock, [7], pace=1.0) == [7]


def test_one_is_always_wanted_where_the_segment_ends(tmp_path, clock):
    period = Period(context(tmp_path, every=None, seconds=1e9, until=3), clock)
    assert wanted(period, clock, [1, 2, 3]) == [3]


def test_it_stays_wanted_until_there_is_one(tmp_path, clock):
    period = Period(context(tmp_path, every=3), clock)
    assert [period.is_over(level) for level in range(1, 6)] == [False, False, True, True, True]
    period.saved()
    assert not period.is_over(6)


def test_in_a_hurry_the_next_report_has_one(tmp_path, clock):
    period = Period(context(tmp_path, every=None), clock)
    assert not period.is_over(1)
    period.hurry()
    assert wanted(period, clock, [2, 3]) == [2]


def test_the_time_in_which_a_trial_was_suspended_does_not_count(tmp_path, clock):
    this = context(tmp_path, every=3, seconds=60)
    period = Period(this, clock)
    assert wanted(period, clock, [1, 2], pace=10.0) == []
    clock.now += 3600
    period.begin(this)
    assert wanted(period, clock, [3, 4], pace=10.0) == []
    assert wanted(period, clock, [5], pace=10.0) == [5]


def test_an_objective_writes_only_what_is_wanted(tmp_path, clock):
    handed = []
    session = Session(context(tmp_path, every=None, seconds=60), handed.append, clock)
    written = []
    for pace in (59, 1, 30, 30):
        clock.now += pace
        session.report({"loss": 1}, None, lambda folder: written.append(clock.now), "")
    assert written == [1060.0, 1120.0]
    assert [raw.checkpoint is not None for raw in handed] == [False, True, False, True]


def test_writing_a_checkpoint_is_not_a_part_of_the_period(tmp_path, clock):
    session = Session(context(tmp_path, every=None, seconds=60), lambda raw: None, clock)
    written = []

    def slowly(folder):
        written.append(clock.now)
        clock.now += 50

    for pace in (60, 30, 30):
        clock.now += pace
        session.report({"loss": 1}, None, slowly, "")
    assert written == [1060.0, 1170.0]


def test_a_checkpoint_that_fails_to_be_written_stays_wanted(tmp_path, clock):
    session = Session(context(tmp_path, every=2), lambda raw: None, clock)

    def broken(folder):
        raise OSError("disk full")

    session.report({"loss": 1}, None, broken, "")
    with pytest.raises(OSError, match="disk full"):
        session.report({"loss": 1}, None, broken, "")
    written = []
    session.report({"loss": 1}, None, written.append, "")
    assert len(written) == 1


def test_a_command_s_checkpoints_are_taken_by_the_same_period(tmp_path, clock):
    text = (
        "import os, pathlib\n"
        "for step in range(1, 6):\n"
        "    name = str(step)\n"
        "    pathlib.Path(os.environ['TUNEFLOW_CHECKPOINT_DIR'], name).touch()\n"
        '    print(\'{"loss": 1, "checkpoint": "%s"}\' % name)\n'
    )
    (tmp_path / "train.py").write_text(text)
    objective = load({"command": [sys.executable, str(tmp_path / "train.py")]})

    def ticking():
        clock.now += 30
        return clock.now

    stream = CommandStream(objective, context(tmp_path, every=None, seconds=60), ticking)
    reports, failure = pull_all(stream)
    assert failure is None
    # The clock is read at each report, and where one is taken.
    taken = [raw.checkpoint and raw.checkpoint.name for raw in reports]
    assert taken == [None, "2", None, "4", None]


def test_a_command_is_told_the_period(tmp_path):
    text = (
        "import os\n"
        "print(*(os.environ['TUNEFLOW_CHECKPOINT_' + n] for n in ('EVERY', 'SECONDS')), sep=',')\n"
    )
    (tmp_path / "train.py").write_text(text)
    objective = load({"command": [sys.executable, str(tmp_path / "train.py")]})
    for every, seconds, said in ((3, None, "3,"), (None, 600, ",600"), (5, 0.5, "5,0.5")):
        given = context(tmp_path, every=every, seconds=seconds)
        stream = CommandStream(objective, given)
        pull_all(stream)
        assert given.log.getvalue().decode().strip() == said


@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("seconds", [None, 0.25])
def test_a_child_is_told_both(tmp_path, every, seconds):
    given = context(tmp_path, every=every, seconds=seconds)
    read = context_from_json(json.loads(json.dumps(context_to_json(given))))
    assert (read.every, read.seconds) == (every, seconds)
    assert replace(read, log=given.log, env=given.env) == given


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_segment_saves_by_the_seconds_of_its_job(tmp_path, isolation):
    def train(config):
        for value in range(1, 4):
            yield {"loss": value}, lambda folder: (folder / "value").touch()

    def saved(seconds):
        runner = Runner(tmp_path / str(seconds), isolation=isolation, warm=0)
        runner.configure(checkpoint_every=None, checkpoint_seconds=seconds)
        outcome = runner.run(PythonObjective(train), Segment(0, 0, {}, until=3))
        return [r.checkpoint for r in outcome.reports]

    assert saved(1e-9) == [checkpoint_ref(0, 0, level) for level in (1, 2, 3)]
    assert saved(3600.0) == [None, None, checkpoint_ref(0, 0, 3)]
