"""One study in four places: begun inline, continued on Dask and in Prefect, finished in Airflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import tuneflow
from tests import command
from tests.airflow_studies import is_trivial
from tests.clusters import cluster, process
from tests.end_to_end import (
    INLINE,
    assert_whole,
    entries,
    hold,
    let_go,
    on,
    prepare_anywhere,
    run,
    saved,
    steps,
)
from tests.relay import NAME, STUDY
from tests.storages import objects
from tuneflow.pipeline.making import study_spec
from tuneflow.remote.code import reference_of
from tuneflow.spec import study_from_json

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]

FLOW = """
import sys

from tests.storages import objects
from tests.relay import NAME, STUDY
from tuneflow.prefect import tune_flow

relay = tune_flow("train.py:train", name=NAME, storage=sys.argv[1], **STUDY)

if __name__ == "__main__":
    relay()
"""


class Relay:
    """A study that is killed in each place, but for the last one.

    Args:
        folder: holds the study file and the objective, whose trials note their steps here.
        url: of the study.
    """

    def __init__(self, folder, url):
        self._folder = folder
        self._url = url
        self._kills = []

    def killed(self, *program, after):
        """Run a program for so many steps, then kill -9 it while its trials are in mid-segment."""
        limit = len(steps(self._folder)) + after
        hold(self._folder, limit)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with process(*program, cwd=self._folder, env=env, **pipes) as started:
            command.wait_until(lambda: len(steps(self._folder)) >= limit, started, 120)
        self._kills.append((steps(self._folder), saved(self._url)))

    def repeated(self):
        """Return the levels that were computed again though they had been saved before a kill."""
        done = steps(self._folder)
        return {
            (trial, level)
            for before, kept in self._kills
            for trial, level, _ in done[len(before) :]
            if (trial, level) in kept
        }

    def newcomers(self):
        """Return for each place how many processes computed something that had not before."""
        done, seen, counts = steps(self._folder), set(), []
        for end in [*(len(before) for before, _ in self._kills), len(done)]:
            there = {pid for _, _, pid in done[:end]}
            counts.append(len(there - seen))
            seen = there
        return counts


def study_in(folder):
    """Write the study file and its objective."""
    prepare_anywhere(folder, name=NAME, trials=None, **STUDY)


@pytest.fixture
def expected(tmp_path):
    """Where the study is that nobody disturbed."""
    study_in(tmp_path)
    assert run(tmp_path, *INLINE) == 0
    return tmp_path / "tuneflow-results" / NAME


def test_a_study_that_is_killed_in_each_place_has_the_journal_of_one_uninterrupted_run(
    expected, airflow_system, prefect_api
):
    folder, url = airflow_system.notes(NAME), airflow_system.url(NAME)
    study_in(folder)
    (folder / "flow.py").write_text(FLOW)
    shutil.copy(folder / "train.py", airflow_system.airflow.dags)
    relay = Relay(folder, url)

    inline = ("run", "study.yaml", "--storage", airflow_system.storage, "--no-progress", *INLINE)
    relay.killed("-m", "tuneflow", *inline, after=5)
    with cluster(2) as address:
        relay.killed("-m", "tuneflow", "resume", url, "--no-progress", *on(address), after=7)
        relay.killed("flow.py", airflow_system.storage, after=4)
    let_go(folder)
    airflow_system.complete(NAME)

    assert entries(url) == entries(expected)
    assert objects(url, "study.json") == objects(expected, "study.json")
    assert_whole(url)
    assert relay.repeated() == set()
    assert all(relay.newcomers()), "each place did some of it"


@pytest.mark.parametrize(
    "train", ["train.py:train", "tests.airflow_studies:is_trivial", is_trivial]
)
def test_a_study_is_the_same_one_whoever_is_asked_to_run_it(train, tmp_path, storage, monkeypatch):
    """`tune` writes the spec of the study; flows and DAGs, and `submit`, have to find it there."""
    prepare_anywhere(tmp_path)
    monkeypatch.chdir(tmp_path)
    short = {**STUDY, "scheduler": {"type": "fifo", "max_resource": 1}, "trials": 1}
    made = tuneflow.tune(train, name=NAME, storage=storage, progress=False, **short)
    stored = json.loads(objects(f"{storage}/{NAME}", "study.json")["study.json"])
    piped = study_spec(train, isolation="thread", timeout=None, **short)
    assert made.state == "finished"
    assert study_from_json({**piped, "name": NAME}).to_json() == stored
    assert reference_of(train) == stored["objective"]
