"""Drivers that die, stop, or are two at once: what comes of it is what would have been anyway.

A study that is driven to its end tells which points there are on the way. Then it is begun anew
again and again, and each time its driver gets a signal at another one of them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from itertools import count

import pytest

from tests.end_to_end import steps
from tests.killing import CONFLICT, Attempt, Truth, spread, template

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ASHA = {"type": "asha", "max_resource": 9, "reduction_factor": 3}
BASE = {
    "name": "study",
    "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
    "metric": "loss",
    "mode": "min",
}
STUDIES = {
    "asha in rounds": {"round_size": 3, "scheduler": ASHA, "trials": 6},
    "hyperband in rounds": {
        "round_size": "all",
        "scheduler": {"type": "hyperband", "max_resource": 4, "reduction_factor": 2},
        "checkpoints": {"every": 2},
    },
    "pbt in rounds": {
        "round_size": "all",
        "scheduler": {"type": "pbt", "max_resource": 6, "interval": 2, "synchronous": True},
        "trials": 4,
    },
    "asha": {"scheduler": ASHA, "trials": 6},
    "median": {
        "scheduler": {"type": "median", "max_resource": 4, "min_samples": 2},
        "checkpoints": {"every": 3},
        "trials": 6,
    },
}
IN_ROUNDS = [kind for kind in STUDIES if "round_size" in STUDIES[kind]]
STREAMING = [kind for kind in STUDIES if "round_size" not in STUDIES[kind]]
KILLS = dict(zip(STUDIES, (50, 30, 40, 50, 30), strict=True))
"""How often the driver of each study is killed: 200 times in all."""

KILLS_ON_S3 = {"asha in rounds": 6, "asha": 6}
STOPS = 8
RACES = 4


@pytest.fixture(scope="module")
def drivers():
    """A template of drivers."""
    with template() as made:
        yield made


@pytest.fixture
def attempts(drivers, tmp_path):
    """Makes attempts at a kind of study, each in a folder that the next one takes away."""

    def attempt(kind):
        folder = tmp_path / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        return Attempt(drivers, folder, folder / "results", {**BASE, **STUDIES[kind]})

    return attempt


def kills(truth, rng):
    """Yield what to kill drivers at: points of each kind, and here and there a moment."""
    points = iter(spread(truth.labels, len(truth.labels), rng))
    while True:
        is_moment = rng.random() < 0.2
        yield {"seconds": rng.uniform(0, truth.seconds)} if is_moment else {"point": next(points)}


def kill_and_resume(attempt, *kills):
    """Kill a study's drivers one after the other, then resume it; return how many were killed."""
    killed = 0
    for how in (*kills, {}):
        before, safe, stored = len(steps(attempt.folder)), attempt.safe, attempt.outcomes
        killed += attempt.drive(**how)
        assert attempt.outcomes.items() >= stored.items(), "no outcome is ever replaced"
        repeated = {step[:2] for step in steps(attempt.folder)[before:]} & safe
        assert not repeated, "nothing that is safe is computed again"
    return killed


def kill_often(truth, attempts, wanted, rng):
    """Kill drivers of new attempts until so many were killed, and check what became of each."""
    plan = kills(truth, rng)
    while wanted > 0:
        attempt = attempts()
        again = {"point": rng.randrange(1, len(truth.labels) // 2)}
        wanted -= kill_and_resume(attempt, next(plan), *[again] * (rng.random() < 0.3))
        truth.assert_kept(attempt)


@pytest.mark.parametrize("kind", STUDIES)
def test_a_driver_that_is_killed_anywhere_leaves_no_trace(kind, attempts):
    truth = Truth(attempts(kind))
    kill_often(truth, lambda: attempts(kind), KILLS[kind], random.Random(kind))


@pytest.mark.parametrize("kind", KILLS_ON_S3)
def test_nor_does_one_whose_study_is_on_s3(kind, s3_url, tmp_path):
    numbers, spec = count(), {**BASE, **STUDIES[kind]}
    with template() as drivers:

        def attempt():
            name = str(next(numbers))
            return Attempt(drivers, tmp_path / name, f"{s3_url}/{name}", spec)

        kill_often(Truth(attempt()), attempt, KILLS_ON_S3[kind], random.Random(kind))


@pytest.mark.parametrize("kind", STUDIES)
def test_a_driver_that_sleeps_until_another_is_through_changes_nothing(kind, attempts):
    truth = Truth(attempts(kind))
    for point in spread(truth.labels, STOPS, random.Random(kind)):
        attempt = attempts(kind)
        sleeper = attempt.start(point=point, number=signal.SIGSTOP)
        assert attempt.wait(sleeper) == -signal.SIGSTOP
        expected = ends(kind, attempt)
        attempt.drive()
        before = attempt.journal, attempt.outcomes
        os.kill(sleeper, signal.SIGCONT)
        code = attempt.wait(sleeper)
        assert (attempt.journal, attempt.outcomes) == before
        truth.assert_kept(attempt)
        assert code in expected, truth.labels[point - 1]


def ends(kind, attempt):
    """Return how a driver may end once another has taken over, if it went on from now."""
    state = attempt.state
    if kind in IN_ROUNDS or state == "finished":
        return {0}
    # One that has written nothing may not have read anything either.
    return {0, CONFLICT} if state == "new" else {CONFLICT}


def race(attempt):
    """Let two drivers go off at the same moment; return how they ended."""
    two = [attempt.start(point=1, number=signal.SIGSTOP) for _ in range(2)]
    assert {attempt.wait(one) for one in two} == {-signal.SIGSTOP}
    for one in two:
        os.kill(one, signal.SIGCONT)
    return sorted(attempt.wait(one) for one in two)


@pytest.mark.parametrize("kind", STREAMING)
def test_of_two_drivers_at_once_exactly_one_is_fenced(kind, attempts):
    truth = Truth(attempts(kind))
    for _ in range(RACES):
        attempt = attempts(kind)
        assert race(attempt) == [0, CONFLICT]
        truth.assert_kept(attempt)


@pytest.mark.parametrize("kind", IN_ROUNDS)
def test_two_drivers_at_once_agree_on_the_same_rounds(kind, attempts):
    truth = Truth(attempts(kind))
    for _ in range(RACES):
        attempt = attempts(kind)
        assert race(attempt) == [0, 0]
        truth.assert_kept(attempt)
