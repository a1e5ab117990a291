"""Streaming studies whose drivers, workers and loops are killed, interrupted, or doubled."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter

import psutil
import pytest

import tuneflow
from tests.clusters import alive, cluster, family, process, until
from tests.command import wait_until
from tests.end_to_end import (
    LOCAL,
    assert_whole,
    await_saved,
    computed,
    driver,
    entries,
    finish,
    held,
    hold,
    let_go,
    notes,
    on,
    outcomes,
    prepare,
    resume,
    saved,
    steps,
    wait_for_entries,
)
from tuneflow.events import Closed

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("storage")]


def interrupt(started):
    """Press Ctrl-C: a terminal sends the signal to the whole process group."""
    os.killpg(started.pid, signal.SIGINT)


class TestDriver:
    def test_a_killed_driver_takes_its_workers_along_and_a_resume_repeats_nothing(self, tmp_path):
        url = prepare(tmp_path)
        with held(tmp_path, "run", "study.yaml", *LOCAL, limit=12) as started:
            workers = {pid for _, _, pid in steps(tmp_path)}
            children = family(started.pid)
            assert workers <= {child.pid for child in children}
            started.kill()
            until(lambda: not alive(children))
        finished, safe = outcomes(url), saved(url)
        assert finished
        let_go(tmp_path)
        with driver(tmp_path, "resume", url) as resumed:
            finish(resumed)
        assert not workers & {pid for _, _, pid in steps(tmp_path)[-1:]}
        assert outcomes(url).items() >= finished.items()
        again = computed(tmp_path)
        assert {level for level in safe if again[level] > 1} == set()
        assert_whole(url)

    def test_kills_one_after_the_other_lose_nothing(self, tmp_path):
        url = prepare(tmp_path)
        for limit in (2, 7, 15, 21):
            start = ("run", "study.yaml", *LOCAL) if limit == 2 else ("resume", url)
            with held(tmp_path, *start, limit=limit) as started:
                children = family(started.pid)
                started.kill()
                until(lambda gone=children: not alive(gone))
        let_go(tmp_path)
        assert resume(url) == 0
        assert_whole(url)

    def test_ctrl_c_on_local_workers_ends_everything_and_a_resume_goes_on(self, tmp_path):
        url = prepare(tmp_path)
        with held(tmp_path, "run", "study.yaml", *LOCAL, limit=12) as started:
            children = family(started.pid)
            interrupt(started)
            let_go(tmp_path)
            said = finish(started, 130)
            assert said.splitlines()[-1].endswith(f"tuneflow resume {tuneflow.load(url).url}")
            until(lambda: not alive(children))
        assert tuneflow.load(url).state == "halted"
        safe = saved(url)
        assert resume(url) == 0
        assert all(computed(tmp_path)[level] == 1 for level in safe)
        assert_whole(url)

    def test_ctrl_c_does_not_wait_for_a_trial_that_does_not_report(self, tmp_path):
        prepare(tmp_path)
        with held(tmp_path, "run", "study.yaml", *LOCAL, limit=1) as started:
            children = family(started.pid)
            interrupt(started)
            finish(started, 130)
            until(lambda: not alive(children))

    def test_the_older_of_two_drivers_on_one_cluster_stops_and_harms_nothing(self, tmp_path):
        """They share a worker process, where the same segments run for both at once."""
        url = prepare(tmp_path, scheduler=LONG, trials=2)
        with (
            cluster(workers=1, threads=4) as address,
            held(tmp_path, "run", "study.yaml", *on(address), limit=4) as older,
            driver(tmp_path, "resume", url) as newer,
        ):
            wait_until(lambda: list(computed(tmp_path).values()).count(2) == 2, newer)
            # Step by step, so that neither is through before they get in each other's way.
            while older.poll() is None and len(steps(tmp_path)) < 14:
                hold(tmp_path, len(steps(tmp_path)) + 1)
            assert "was written by another driver" in finish(older, 5)
            let_go(tmp_path)
            finish(newer)
        closed = Counter(
            fact.status
            for fact in assert_whole(url, trials=2).history.facts
            if isinstance(fact, Closed)
        )
        assert closed["lost"] == closed["failed"] == 0


class TestWorker:
    def test_a_trial_whose_worker_is_killed_goes_on_elsewhere_from_its_checkpoint(self, tmp_path):
        url = prepare(tmp_path, scheduler=LONG, trials=3)
        with (
            cluster(workers=2) as address,
            held(tmp_path, "run", "study.yaml", *on(address), limit=9) as started,
        ):
            number, level, killed = steps(tmp_path)[-1]
            assert level > 2
            await_saved(tmp_path, url)
            os.kill(killed, signal.SIGKILL)
            until(lambda: not psutil.pid_exists(killed))
            let_go(tmp_path)
            finish(started)
        mine = [step[1:] for step in steps(tmp_path) if step[0] == number]
        again = [at for at, pid in mine if pid != killed]
        assert again == list(range(level, LONG["max_resource"] + 1))
        result = assert_whole(url, trials=3)
        closed = Counter(f.status for f in result.history.facts if isinstance(f, Closed))
        assert closed == {"paused": 3}, "none was lost, and none ran a second segment"

    def test_all_workers_may_die_at_once(self, tmp_path):
        url = prepare(tmp_path)
        with (
            cluster(workers=2) as address,
            held(tmp_path, "run", "study.yaml", *on(address), limit=12) as started,
        ):
            safe = saved(url)
            for pid in {pid for _, _, pid in steps(tmp_path)}:
                os.kill(pid, signal.SIGKILL)
            let_go(tmp_path)
            finish(started)
        assert all(computed(tmp_path)[level] == 1 for level in safe)
        assert_whole(url)


LONG = {"type": "asha", "max_resource": 8, "min_resource": 8, "reduction_factor": 2}
"""Each trial runs to its end in one segment."""

LOOP = """
import os, sys, time
import tuneflow

study = tuneflow.create_study(
    space={"x": tuneflow.space.uniform(0, 1)}, metric="loss", mode="min",
    scheduler={"type": "asha", "max_resource": 9, "reduction_factor": 3},
    trials=9, name="example", storage=sys.argv[1],
)
while (trial := study.ask()) is not None:
    with open("asked", "a") as asked:
        print(trial.trial, trial.segment, trial.params["x"], file=asked)
    while os.path.exists("wait") and len(open("asked").readlines()) == 5:
        time.sleep(0.01)
    study.tell(trial, trial.params["x"] / trial.until)
    with open("told", "a") as told:
        print(trial.trial, trial.segment, trial.params["x"], file=told)
"""


class TestAskAndTell:
    def test_a_loop_that_was_killed_goes_on_with_the_trial_that_it_had_asked_for(
        self, tmp_path, storage
    ):
        url = f"{storage}/example"
        (tmp_path / "loop.py").write_text(LOOP)
        (tmp_path / "wait").touch()
        with process("loop.py", storage, cwd=tmp_path) as started:
            wait_until(lambda: len(notes(tmp_path, "asked")) == 5, started)
            started.kill()
        assert len(notes(tmp_path, "told")) == 4
        (tmp_path / "wait").unlink()
        with process("loop.py", storage, cwd=tmp_path) as started:
            assert started.wait(timeout=30) == 0
        asked, told = notes(tmp_path, "asked"), notes(tmp_path, "told")
        assert asked[4] == asked[5], "what was not told is handed out again"
        assert asked[:4] + asked[5:] == told
        assert len(set(map(tuple, told))) == len(told)
        result = tuneflow.load(url)
        assert result.state == "finished"
        assert len(result.trials) == 9
        segments = sum(isinstance(fact, Closed) for fact in result.history.facts)
        assert segments == len(told)

    def test_a_loop_kills_itself_between_any_two_lines_and_the_journal_stays_whole(
        self, tmp_path, storage
    ):
        """Each run is killed a little later than the one before, wherever it is by then."""
        url = f"{storage}/example"
        (tmp_path / "loop.py").write_text(LOOP)
        for count in range(2, 12, 3):
            with process("loop.py", storage, cwd=tmp_path) as started:
                wait_for_entries(url, count, started)
                started.kill()
        with process("loop.py", storage, cwd=tmp_path) as started:
            assert started.wait(timeout=30) == 0
        result = tuneflow.load(url)
        assert result.state == "finished"
        assert sum(result.history.counts.values()) == 9
        for data in outcomes(url).values():
            assert json.loads(data)["status"] in ("paused", "completed")
        before = entries(url)
        with process("loop.py", storage, cwd=tmp_path) as started:
            assert started.wait(timeout=30) == 0
        assert entries(url) == before, "a finished study is left as it is"
