"""The command when it is interrupted, killed, or run twice at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager

import pytest

from tests.command import (
    TRAIN,
    command,
    journal,
    run,
    tuneflow,
    url_of,
    wait_until,
    write,
)
from tests.end_to_end import outcomes
from tuneflow.store import Store

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("storage")]

LIMIT = 7
PACED = {"objective": "train.py:paced", "trials": 6}
ROUNDS = {
    **PACED,
    "round_size": "all",
    "scheduler": {"type": "successive_halving", "max_resource": 4, "reduction_factor": 2},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


@contextmanager
def started(folder, *arguments):
    """A command that runs meanwhile, and is gone afterwards."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def steps(folder):
    """Return how often each step was run: "trial epoch" to a count."""
    path = folder / "steps"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


@contextmanager
def held(folder, *arguments, limit=LIMIT):
    """A command whose trials wait once they have made so many steps in all."""
    (folder / "limit").write_text(str(limit))
    with started(folder, *arguments) as process:
        wait_until(lambda: steps(folder).total() >= limit, process)
        yield process
    (folder / "limit").unlink(missing_ok=True)


def resumed(folder):
    """Resume the study to its end, and return its status."""
    (folder / "limit").unlink(missing_ok=True)
    done = tuneflow("resume", url_of(folder), "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def finished_segments(folder):
    """Return the outcomes that there are, by key, and the steps that they stand for."""
    found, made = outcomes(url_of(folder)), set()
    for data in found.values():
        outcome = json.loads(data)
        made |= {f"{outcome['trial']} {report['resource']}" for report in outcome["reports"]}
    return found, made


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_ends_with_its_signal_and_says_how_to_resume(folder, number, code):
    write(folder, **PACED)
    with held(folder, "run", "study.yaml") as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == code
    resume = f"interrupted; go on with: tuneflow resume {Store(url_of(folder)).url}"
    assert said.splitlines()[-1] == resume
    status = json.loads(tuneflow("status", url_of(folder), "--json", cwd=folder).stdout)
    assert (status["state"], status["reason"]) == ("halted", "interrupted")
    assert resumed(folder)["state"] == "finished"


def test_an_interrupted_run_still_writes_one_json_document(folder):
    write(folder, **PACED)
    with held(folder, "run", "study.yaml", "--json", "--no-progress") as process:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    document = json.loads(said)
    assert document["error"]["exit_code"] == 130
    assert document["name"] == "example"


@pytest.mark.parametrize("spec", [PACED, ROUNDS], ids=["streaming", "rounds"])
def test_after_a_kill_a_resume_runs_no_finished_segment_again(folder, spec):
    write(folder, **spec)
    with held(folder, "run", "study.yaml") as process:
        process.kill()
        process.wait()
    before, made = finished_segments(folder)
    assert before
    assert resumed(folder)["state"] == "finished"
    after, _ = finished_segments(folder)
    assert {key: after[key] for key in before} == before
    assert {step: count for step, count in steps(folder).items() if step in made} == dict.fromkeys(
        made, 1
    )


def test_a_study_in_rounds_has_the_same_journal_inline_on_dask_and_after_a_kill(tmp_path):
    folders = [tmp_path / name for name in ("inline", "again", "dask", "killed")]
    for folder in folders:
        folder.mkdir()
        (folder / "train.py").write_text(TRAIN)
        write(folder, **ROUNDS)
    inline, again, dask, killed = folders
    for folder, arguments in ((inline, ()), (again, ()), (dask, ("--executor", "dask"))):
        done = run(folder, *arguments)
        assert done.returncode == 0, done.stderr
    with held(killed, "run", "study.yaml", limit=9) as process:
        process.kill()
        process.wait()
    assert 1 < len(journal(killed)) < len(journal(inline))
    resumed(killed)
    assert len(journal(inline)) > 3
    assert journal(again) == journal(inline)
    assert journal(dask) == journal(inline)
    assert journal(killed) == journal(inline)


def test_the_older_of_two_drivers_ends_with_5_and_the_newer_one_finishes(folder):
    write(folder, **PACED)
    with (
        held(folder, "run", "study.yaml") as older,
        started(folder, "resume", url_of(folder)) as newer,
    ):
        wait_until(lambda: steps(folder).total() > LIMIT, newer)
        (folder / "limit").unlink()
        _, said = older.communicate(timeout=30)
        assert older.returncode == 5
        assert "was written by another driver" in said.splitlines()[-1]
        assert newer.wait(timeout=30) == 0


def test_watch_ends_when_the_study_does(folder):
    write(folder, **PACED)
    with held(folder, "run", "study.yaml") as driver:
        with started(folder, "watch", url_of(folder), "--interval", "0.1") as watcher:
            (folder / "limit").unlink()
            said, _ = watcher.communicate(timeout=30)
            assert watcher.returncode == 0
            assert "finished" in said
        assert driver.wait(timeout=30) == 0


def test_ctrl_c_ends_the_watching_and_not_the_study(folder):
    write(folder, **PACED)
    with held(folder, "run", "study.yaml") as driver:
        with started(folder, "watch", url_of(folder), "--interval", "0.1") as watcher:
            assert watcher.stderr.readline().startswith("watching ")
            watcher.send_signal(signal.SIGINT)
            _, said = watcher.communicate(timeout=30)
            assert watcher.returncode == 0
            assert "the study itself goes on" in said
        (folder / "limit").unlink()
        driver.communicate(timeout=30)
        assert driver.returncode == 0


def test_a_reader_that_goes_away_is_no_error(folder):
    write(folder)
    run(folder)
    read, write_end = os.pipe()
    os.close(read)
    process = subprocess.run(
        command("trials", url_of(folder), "--json"),
        cwd=folder,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert process.returncode == 0
    assert process.stderr == ""
