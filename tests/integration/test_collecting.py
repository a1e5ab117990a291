"""Checkpoints are removed beside studies that run, and what anybody needs is always there."""

from __future__ import annotations

import json
import os
import signal

import pytest
import yaml

import tuneflow
from tests import trainer
from tests.airflow_here import run as run_dag
from tests.airflow_here import study_dag
from tests.airflow_studies import HALVING, RATE, learns
from tests.clusters import cluster, process
from tests.command import tuneflow as command
from tests.command import wait_until
from tests.end_to_end import notes
from tuneflow.airflow import segments_trigger
from tuneflow.checkpoints import Checkpoints
from tuneflow.cli import main
from tuneflow.collecting import collector
from tuneflow.events import Launched
from tuneflow.prefect import tune_flow
from tuneflow.retention import kept
from tuneflow.store import Store

pytestmark = pytest.mark.integration

TRAIN = """
import functools, json, os, time
from pathlib import Path

import tuneflow
import tuneflow.blobs, tuneflow.storing

# As the collector of this test removes what is four seconds old, not an hour.
tuneflow.blobs.REUSE = tuneflow.storing.REUSE = 1.0
HERE = Path(__file__).parent


def train(config):
    trial = tuneflow.current_trial()
    saved = tuneflow.checkpoint()
    state = json.loads((saved / "state.json").read_text()) if saved else {"levels": []}
    note("began", trial.number, trial.segment, trial.start, len(state["levels"]), os.getpid())
    for level in range(len(state["levels"]) + 1, 100):
        time.sleep(0.05)
        state = {"levels": [*state["levels"], level], "rate": config["rate"]}
        note("steps", trial.number, level, os.getpid())
        yield {"loss": (config["rate"] - 0.3) ** 2 + 1 / level}, functools.partial(save, state)


def save(state, folder):
    (folder / "state.json").write_text(json.dumps(state))
    # What never changes, what changes now and then, and what comes back.
    (folder / "frozen.bin").write_bytes(b"frozen" * 1000)
    (folder / "slow.bin").write_bytes(b"%d" % (len(state["levels"]) // 7) * 1000)
    (folder / "blinking.bin").write_bytes(b"%d" % (len(state["levels"]) % 2) * 1000)


def note(name, *words):
    file = os.open(HERE / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)
"""
TRIALS = 6
STUDY = {
    "name": "example",
    "objective": "train.py:train",
    "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
    "scheduler": {"type": "pbt", "max_resource": 32, "interval": 4, "quantile": 0.4},
    "trials": TRIALS,
    "checkpoints": {"keep": {"last": 1}},
}
IN_FLIGHT = ("it is not reported yet", "its segment is not known yet")


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path):
    """A folder, and a bucket of an S3 server."""
    if request.param == "folder":
        return str(tmp_path / "results")
    return request.getfixturevalue("s3_url")


@pytest.fixture
def soon(monkeypatch):
    """Let the collectors of this process remove what is older than four seconds."""
    monkeypatch.setattr("tuneflow.collecting.collector.COLLECT", 4.0)


def prepare(folder, storage, **changes):
    """Write a study file and its objective; return the study's URL."""
    (folder / "train.py").write_text(TRAIN)
    study = {**STUDY, "storage": storage, **changes}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return f"{storage}/example"


def is_there(url):
    return Store(url).exists("study.json")


def manifests(url):
    return {key for key in Store(url).list("trials") if "/checkpoints/" in key}


def assert_only_what_is_kept(url):
    """Make sure that a study has just what it must keep, and that all of it can be restored."""
    result, checkpoints = tuneflow.load(url), Checkpoints(Store(url))
    expected = kept(result.study, result.history)
    assert manifests(url) == expected
    used = set().union(*(checkpoints.load(ref).blobs() for ref in expected))
    assert set(Store(url).list("blobs")) == used
    for trial in result.trials:
        if trial.checkpoint in expected:
            state = json.loads((result.checkpoint(trial) / "state.json").read_text())
            assert state["levels"] == list(range(1, trial.checkpoint_resource + 1))
    assert (result.checkpoint() / "state.json").exists()
    return result


def assert_all_went_on_from_where_they_should(folder, result):
    """Make sure that no trial fell back to an older checkpoint than it was given."""
    given = {
        (fact.trial, fact.segment): fact.start
        for fact in result.history.facts
        if isinstance(fact, Launched)
    }
    began = [tuple(map(int, words)) for words in notes(folder, "began")]
    assert [one for one in began if one[2] < given[one[:2]]] == []


def test_gc_in_a_loop_beside_pbt_on_dask_while_workers_are_killed(tmp_path, storage, soon, capsys):
    url = prepare(tmp_path, storage)
    done, killed = [], set()
    with cluster(workers=3) as address:
        options = ("--executor", "dask", "--set", f"executor.address={address}", "--no-progress")
        with process("-m", "tuneflow", "run", "study.yaml", *options, cwd=tmp_path) as driver:
            wait_until(lambda: Store(url).exists("study.json"), driver)
            while driver.poll() is None:
                capsys.readouterr()
                assert main(["gc", url, "--json"]) == 0
                done.append(json.loads(capsys.readouterr().out))
                steps = notes(tmp_path, "steps")
                if len(steps) > 40 * (1 + len(killed)) and len(killed) < 2:
                    killed.add(int(steps[-1][-1]))
                    os.kill(int(steps[-1][-1]), signal.SIGKILL)
            assert driver.wait() == 0
    assert len(killed) == 2
    for one in done:
        resting = [why for why in one["kept"].values() if why not in IN_FLIGHT]
        # Of each trial the newest, what it began from, and what a second run wrote last.
        assert len(resting) <= 3 * TRIALS
    assert sum(len(one["superseded"]) for one in done) > TRIALS
    assert sum(len(one["blobs"]) for one in done) > 0, "no blob was removed beside the study"
    result = assert_only_what_is_kept(url)
    assert result.failed == []
    assert len(manifests(url)) <= TRIALS
    launched = [fact for fact in result.history.facts if isinstance(fact, Launched)]
    assert any(fact.source is not None for fact in launched)
    assert_all_went_on_from_where_they_should(tmp_path, result)


@pytest.fixture
def collections(monkeypatch):
    """What the collections of this process removed, one after the other."""
    done = []
    real = collector.Collector.collect

    def collect(*arguments):
        done.append(real(*arguments))
        return done[-1]

    monkeypatch.setattr(collector.Collector, "collect", collect)
    return done


DASK = {"type": "dask", "workers": 2}


class TestByTheDriver:
    @pytest.fixture(autouse=True)
    def _always(self, monkeypatch):
        """Collect as often as possible."""
        monkeypatch.setattr("tuneflow.collecting.background.PAUSE", 0.0)

    @pytest.mark.parametrize(
        ("storage", "executor", "round_size"),
        [
            ("folder", "inline", None),
            ("folder", "inline", "all"),
            ("folder", DASK, "all"),
            ("s3", DASK, None),
        ],
        indirect=["storage"],
    )
    def test_it_removes_what_it_does_not_keep_while_it_decides(
        self, tmp_path, storage, collections, executor, round_size
    ):
        (tmp_path / "notes").mkdir()
        result = tuneflow.tune(
            learns(tmp_path / "notes"),
            **{key: STUDY[key] for key in ("space", "metric", "mode", "scheduler", "trials")},
            checkpoints={"keep": {"best": 2}},
            round_size=round_size,
            executor=executor,
            storage=storage,
            name="example",
            progress=False,
        )
        assert result.state == "finished"
        assert result.failed == []
        assert sum(len(done.superseded) for done in collections[:-1]) > 0
        expected = kept(result.study, result.history)
        assert manifests(result.url) == expected
        assert 2 <= len(expected) <= 4
        used = set().union(*(Checkpoints(Store(result.url)).load(ref).blobs() for ref in expected))
        assert set(Store(result.url).list("blobs")) == used
        best = json.loads((result.checkpoint() / "state.json").read_text())
        assert best["level"] == result.best_trial.checkpoint_resource

    def test_a_failed_trial_goes_on_from_its_checkpoint_after_the_end(self, tmp_path):
        broken, folder = tmp_path / "broken", tmp_path / "notes"
        broken.touch()
        folder.mkdir()

        def train(config):
            for report in trainer.learn(config, folder):
                yield report
                if broken.exists() and tuneflow.current_trial().number == 1:
                    raise RuntimeError("the data is not there")

        options = {key: STUDY[key] for key in ("space", "metric", "mode")}
        result = tuneflow.tune(
            train,
            **options,
            scheduler={"type": "fifo", "max_resource": 4},
            trials=3,
            checkpoints={"keep": {"last": 0}},
            storage=tmp_path,
            name="example",
            progress=False,
        )
        failed = result.trials[1]
        assert (result.failed, failed.checkpoint_resource) == ([failed], 1)
        assert failed.checkpoint in manifests(result.url)
        broken.unlink()
        again = tuneflow.resume(result.url, train=train, retry_failed=True, progress=False)
        assert again.failed == []
        assert [report.resource for report in again.trials[1].reports] == [1, 2, 3, 4]
        assert manifests(result.url) == kept(again.study, again.history)


class TestByOrchestrators:
    CHECKPOINTS = {"keep": {"last": 1}}  # noqa: RUF012 - it is not changed

    @pytest.fixture
    def notes_folder(self, tmp_path):
        folder = tmp_path / "notes"
        folder.mkdir()
        return folder

    def assert_each_stage_removed(self, collections):
        assert [len(done.superseded) > 0 for done in collections] == [False, True, True]

    @pytest.mark.usefixtures("airflow_database")
    def test_airflow_removes_after_each_stage(
        self, tmp_path, notes_folder, collections, monkeypatch
    ):
        monkeypatch.setattr(segments_trigger, "_SOONEST", 0.0)
        with cluster(workers=2) as address:
            monkeypatch.setenv("AIRFLOW_CONN_DASK_DEFAULT", address.replace("tcp://", "dask://"))
            dag = study_dag(
                learns(notes_folder),
                "kept",
                tmp_path,
                space=RATE,
                metric="loss",
                mode="min",
                searcher="random",
                scheduler=HALVING,
                checkpoints=self.CHECKPOINTS,
            )
            assert run_dag(dag).state == "success"
        self.assert_each_stage_removed(collections)
        result = tuneflow.load(tmp_path / "kept")
        assert manifests(result.url) == kept(result.study, result.history)

    @pytest.mark.usefixtures("no_prefect_api")
    def test_prefect_removes_after_each_round(self, tmp_path, notes_folder, collections):
        flow = tune_flow(
            learns(notes_folder),
            name="kept",
            storage=str(tmp_path),
            space=RATE,
            metric="loss",
            mode="min",
            searcher="random",
            scheduler=HALVING,
            checkpoints=self.CHECKPOINTS,
        )
        flow()
        self.assert_each_stage_removed(collections)
        result = tuneflow.load(tmp_path / "kept")
        assert manifests(result.url) == kept(result.study, result.history)


class TestTheCommand:
    def test_says_what_it_would_remove_and_removes_it(self, tmp_path, storage):
        url = prepare(tmp_path, storage, checkpoints={}, trials=2, scheduler=FIFO)
        done = command("run", "study.yaml", "--no-progress", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        before = manifests(url)
        done = command("gc", url, "--dry-run", "--keep-last", "1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "checkpoints that are not needed any more" in done.stdout
        assert "would free" in done.stdout
        assert manifests(url) == before
        done = command("gc", url, "--keep-last", "1", "--json", cwd=tmp_path)
        assert len(json.loads(done.stdout)["superseded"]) == len(before) - 2
        assert len(manifests(url)) == 2
        assert_restorable(url)


FIFO = {"type": "fifo", "max_resource": 5}


def assert_restorable(url):
    result = tuneflow.load(url)
    for trial in result.trials:
        assert json.loads((result.checkpoint(trial) / "state.json").read_text())["levels"]
