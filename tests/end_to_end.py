"""Studies that are driven, held and killed in processes of their own by end-to-end tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager

import tuneflow
from tests import command, trainer
from tests.clusters import process, until
from tests.storages import keys, objects, storage_of
from tuneflow.cli import main
from tuneflow.events import Reported

ASHA = {"type": "asha", "max_resource": 9, "reduction_factor": 3}
STUDY = {
    "objective": "train.py:train",
    "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
    "metric": "loss",
    "mode": "min",
    "scheduler": ASHA,
    "trials": 9,
}
INLINE = ("--executor", "inline")
LOCAL = ("--executor", "dask", "--set", "executor.workers=2")


def on(address):
    """Return the options that run trials on a cluster."""
    return ("--executor", "dask", "--set", f"executor.address={address}")


def prepare(folder, **changes):
    """Write study.yaml, keys changed, and the objectives beside it; return the study's URL."""
    folder.mkdir(exist_ok=True)
    shutil.copy(trainer.__file__, folder / "train.py")
    command.write(folder, **{**STUDY, **changes})
    return command.url_of(folder)


def prepare_anywhere(folder, **changes):
    """Prepare; trials note their steps in this folder, also where it is not their module's."""
    url = prepare(folder, **changes)
    train = folder / "train.py"
    train.write_text(train.read_text().replace("Path(__file__).parent", f"Path({str(folder)!r})"))
    return url


def run(folder, *options):
    """Run study.yaml in this process; return the exit code."""
    storage = storage_of(folder)
    return main(["run", f"{folder}/study.yaml", "--storage", storage, "--json", *options])


def resume(url, *options):
    """Go on with a study in this process; return the exit code."""
    return main(["resume", str(url), "--json", *options])


@contextmanager
def driver(folder, *arguments):
    """The command in a process of its own, with pipes, which is gone afterwards."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process("-m", "tuneflow", *arguments, cwd=folder, **pipes) as started:
        yield started


@contextmanager
def held(folder, *arguments, limit):
    """A driver whose trials wait, in the middle of a segment, after so many steps in all."""
    hold(folder, limit)
    with driver(folder, *arguments) as started:
        command.wait_until(lambda: len(steps(folder)) >= limit, started)
        yield started


def hold(folder, limit):
    """Let trials wait after so many steps in all."""
    fresh = folder / "limit.new"
    fresh.write_text(str(limit))
    fresh.replace(folder / "limit")


def let_go(folder):
    """Let waiting trials go on."""
    (folder / "limit").unlink()


def finish(started, code=0):
    """Wait until a driver has ended; return what it wrote to stderr."""
    _, said = started.communicate(timeout=60)
    assert started.returncode == code, said
    return said


def notes(folder, name="steps"):
    """Return the lines of a file that objectives append to, each as its words."""
    path = folder / name
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def steps(folder):
    """Return what was computed, in order: trial, level and process."""
    return [tuple(map(int, words)) for words in notes(folder)]


def computed(folder):
    """Return how often each level of each trial was computed."""
    return Counter((trial, level) for trial, level, _ in steps(folder))


def saved(url):
    """Return the levels of trials that need never be computed again: a checkpoint has them."""
    paths = [key.split("/") for key in keys(url, "trials/*/checkpoints/*.json")]
    return {(int(trial), int(name[:-5].split("-")[1])) for _, trial, _, name in paths}


def await_saved(folder, url):
    """Wait until each trial's steps are saved but the one that it is held at.

    Trials compute on while their checkpoints are stored.
    """

    def is_saved():
        reached = {number: level for number, level, _ in steps(folder)}
        done = saved(url)
        return all(level == 1 or (number, level - 1) in done for number, level in reached.items())

    until(is_saved)


def outcomes(url):
    """Return the outcomes that are stored, as bytes by key."""
    return objects(url, "trials/*/segments/*.json")


def entries(url):
    """Return the journal: names of entries to bytes."""
    found = objects(url, "journal/*.jsonl")
    return {key.rpartition("/")[2]: data for key, data in found.items()}


def reported(result):
    """Return how often each level of each trial counts in the journal."""
    facts = [fact for fact in result.history.facts if isinstance(fact, Reported)]
    return Counter((fact.trial, fact.report.resource) for fact in facts)


def assert_whole(url, trials=STUDY["trials"]):
    """Make sure that a finished study of `train` has every report once, and with the right value.

    Returns the result, for more.
    """
    result = tuneflow.load(url)
    assert result.state == "finished"
    assert len(result.trials) == trials
    assert sum(result.history.counts.values()) == trials
    assert result.failed == []
    expected = {(t.number, level) for t in result.trials for level in range(1, t.resource + 1)}
    assert reported(result) == Counter(expected)
    for trial in result.trials:
        assert result.value(trial) == trainer.loss_after(trial.params, trial.resource)
        with tempfile.TemporaryDirectory() as folder:
            newest = result.checkpoint(trial, folder) / "state.json"
            assert json.loads(newest.read_text())["level"] == trial.resource
    return result


def wait_for_entries(url, count, started):
    """Wait until the journal has so many entries, or the driver is through."""
    until(lambda: len(keys(url, "journal/*.jsonl")) >= count or started.poll() is not None)
