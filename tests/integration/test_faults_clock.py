"""The wall clock is set, forward or back: no budget, time-out or duration goes by it."""

from __future__ import annotations

import pytest

import tuneflow
from tests.clocks import Clock
from tests.clusters import until
from tests.end_to_end import (
    INLINE,
    LOCAL,
    assert_whole,
    driver,
    finish,
    held,
    hold,
    let_go,
    outcomes,
    prepare,
    steps,
)
from tuneflow.events import Elapsed
from tuneflow.outcomes import read_outcome

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.local("a clock that is wrong by hours is no matter of the storage"),
]

HOUR = 3600.0
GENEROUS = {"wall_clock": HOUR, "trial_time": HOUR}
STREAM, ROUNDS = {"round_size": None}, {"round_size": "all"}


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """The clock of all processes that are started from now on."""
    folder = tmp_path / "clock"
    folder.mkdir()
    made = Clock(folder)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return made


def elapsed(result):
    return [fact for fact in result.history.facts if isinstance(fact, Elapsed)]


FAR = (5, -7, 2, -3)
"""Hours that the clock is off, one after the other."""

AHEAD = (5, 9, 8.999, 30)
"""Dask's messages wait by the wall clock: they are late by as much as it is set back."""


@pytest.mark.parametrize(
    ("executor", "mode", "jumps"),
    [
        pytest.param(INLINE, STREAM, FAR, id="inline"),
        pytest.param(INLINE, ROUNDS, FAR, id="rounds"),
        pytest.param(LOCAL, STREAM, AHEAD, id="dask"),
        pytest.param(LOCAL, ROUNDS, AHEAD, id="dask-rounds"),
    ],
)
def test_a_clock_that_jumps_by_hours_ends_nothing(clock, tmp_path, executor, mode, jumps):
    """It jumps in the middle of segments that may take less than that."""
    url = prepare(tmp_path, budget=GENEROUS, **mode)
    patient = ("--set", "executor.timeout=600")
    with held(tmp_path, "run", "study.yaml", *executor, *patient, limit=6) as started:
        for number, hours in enumerate(jumps, start=1):
            clock.jump(hours)
            hold(tmp_path, 6 + 2 * number)
            until(lambda number=number: len(steps(tmp_path)) >= 6 + 2 * number, 60)
        let_go(tmp_path)
        finish(started)
    result = assert_whole(url)
    assert result.history.finished == "all 9 trials are done"
    assert 0 < result.history.elapsed < HOUR
    assert 0 < result.history.trial_time < HOUR
    seconds = [fact.seconds for fact in elapsed(result)]
    assert seconds == sorted(seconds)
    found = [read_outcome(data, key) for key, data in outcomes(url).items()]
    assert all(0 <= outcome.ended - outcome.started < HOUR for outcome in found)


@pytest.mark.parametrize("hours", [6, -6])
@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"wall_clock": 2}, "the wall-clock budget of 2 s is used up"),
        ({"trial_time": 2}, "the trial time of 2 s is used up"),
    ],
)
def test_a_budget_of_time_ends_a_study_whatever_the_clock_says(
    clock, tmp_path, hours, budget, reason
):
    """It is neither over because of the jump, nor is it longer."""
    url = prepare(tmp_path, budget=budget, scheduler="fifo", trials=1000)
    with held(tmp_path, "run", "study.yaml", *INLINE, limit=3) as started:
        clock.jump(hours)
        hold(tmp_path, 6)
        until(lambda: started.poll() is not None or len(steps(tmp_path)) >= 6, 60)
        let_go(tmp_path)
        finish(started)
    result = tuneflow.load(url)
    assert result.history.finished == reason
    spent = elapsed(result)[-1]
    assert 2 <= max(spent.seconds, spent.trial_time) < HOUR


def test_a_study_goes_on_with_another_clock_than_it_began_with(clock, tmp_path):
    """The machine that resumes it is hours behind the one that was lost."""
    url = prepare(tmp_path, budget=GENEROUS, **ROUNDS)
    with held(tmp_path, "run", "study.yaml", *INLINE, limit=8) as started:
        started.kill()
    clock.jump(-30)
    let_go(tmp_path)
    with driver(tmp_path, "resume", url) as resumed:
        finish(resumed)
    result = assert_whole(url)
    assert 0 < result.history.elapsed < HOUR
    assert all(fact.seconds >= 0 for fact in elapsed(result))
