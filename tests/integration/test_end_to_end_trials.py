"""Whole studies on Dask: object storage, large data, commands, trials that crash, fail or hang."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter

import pytest

import tuneflow
from tests.clusters import cluster
from tests.command import tuneflow as command
from tests.end_to_end import (
    ASHA,
    LOCAL,
    STUDY,
    assert_whole,
    computed,
    held,
    let_go,
    notes,
    on,
    outcomes,
    prepare,
    resume,
    run,
    saved,
)
from tuneflow.events import Closed, Stopped

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("storage")]

SHELL = """
# Count levels from where the checkpoint left off; each is halfway to the rate.
level=0
loss=1
if [ -n "$TUNEFLOW_RESTORE_DIR" ]; then
  read -r level loss < "$TUNEFLOW_RESTORE_DIR/state"
fi
echo "$TUNEFLOW_TRIAL $TUNEFLOW_SEGMENT $TUNEFLOW_START $level" >> began
trap 'echo "$TUNEFLOW_TRIAL $TUNEFLOW_SEGMENT" >> ended; exit 0' TERM
while true; do
  level=$((level + 1))
  loss=$(awk "BEGIN { print ($loss + $1) / 2 }")
  mkdir "$TUNEFLOW_CHECKPOINT_DIR/$level"
  echo "$level $loss" > "$TUNEFLOW_CHECKPOINT_DIR/$level/state"
  echo "{\\"loss\\": $loss, \\"resource\\": $level, \\"checkpoint\\": \\"$level\\"}"
  sleep 0.05
done
"""


@pytest.fixture(scope="module")
def workers():
    """The address of a cluster of two worker processes."""
    with cluster(2) as address:
        yield address


class TestObjectStorage:
    @pytest.fixture
    def given(self, request, storages, storage):
        """The storage that was chosen, but S3 instead of local files."""
        return request.getfixturevalue("s3_url") if storages.kind == "file" else f"{storage}/given"

    def test_a_study_there_is_killed_resumed_elsewhere_and_looked_at(self, tmp_path, given):
        prepare(tmp_path)
        url = f"{given}/example"
        place = ("--storage", given)
        with cluster(2) as address:
            with held(tmp_path, "run", "study.yaml", *place, *on(address), limit=12) as started:
                assert tuneflow.load(url).state == "running"
                started.kill()
                started.wait()
            let_go(tmp_path)
            done = command("resume", url, "--json", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "finished"
        assert not (tmp_path / "tuneflow-results").exists()
        result = assert_whole(url)
        best = str(result.best_trial.number)
        assert "level 1\n" in command("logs", url, best, cwd=tmp_path).stdout
        done = command("report", url, "-o", "report.html", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{result.best_value:.5g}" in (tmp_path / "report.html").read_text()
        done = command("best", url, "--checkpoint", "best", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (
            json.loads((tmp_path / "best" / "state.json").read_text())["loss"] == result.best_value
        )


class TestData:
    def test_large_data_is_unpickled_in_no_worker_twice(self, tmp_path, storage, workers):
        loads = tmp_path / "loads"

        def load(content):
            with loads.open("a") as file:
                file.write(f"{os.getpid()}\n")
            return content

        class Data:
            def __reduce__(self):
                return load, (b"x" * 20_000_000,)

        def train(config, data):
            return {"loss": len(data) * config["rate"], "pid": os.getpid()}

        result = tuneflow.tune(
            tuneflow.with_parameters(train, data=Data()),
            **{name: STUDY[name] for name in ("space", "metric", "mode")},
            trials=30,
            storage=storage,
            executor={"type": "dask", "address": workers},
            progress=False,
        )
        assert len(result.trials) == 30
        used = {int(trial.latest("pid")) for trial in result.trials}
        assert all(t.latest("loss") == 20_000_000 * t.params["rate"] for t in result.trials)
        # A worker may have its copy from another one that has unpickled it already.
        loaded = Counter(map(int, loads.read_text().split()))
        assert loaded
        assert loaded.items() <= dict.fromkeys(used, 1).items()


class TestCommands:
    @pytest.fixture
    def changes(self):
        return {"objective": {"command": ["bash", "train.sh", "{rate}"]}}

    def test_a_promoted_command_goes_on_from_its_checkpoint(self, tmp_path, workers, changes):
        url = prepare(tmp_path, **changes, scheduler=ASHA)
        (tmp_path / "train.sh").write_text(SHELL)
        assert run(tmp_path, *on(workers)) == 0
        result = tuneflow.load(url)
        began = {tuple(map(int, words)) for words in notes(tmp_path, "began")}
        promoted = {(start, level) for _, segment, start, level in began if segment}
        assert promoted == {(1, 1), (3, 3)}
        segments = Counter(fact.status for fact in result.history.facts if isinstance(fact, Closed))
        assert segments == {"paused": len(began)}
        ended = {tuple(map(int, words)) for words in notes(tmp_path, "ended")}
        assert ended == {step[:2] for step in began}, "each was asked to end, and had the time to"
        for trial in result.trials:
            expected = trial.params["rate"] + (1 - trial.params["rate"]) / 2**trial.resource
            assert result.value(trial) == pytest.approx(expected, abs=1e-4)

    def test_a_command_that_falls_behind_is_sent_sigterm(self, tmp_path, workers, changes):
        stopping = {**ASHA, "variant": "stopping", "reduction_factor": 2, "max_resource": 8}
        url = prepare(tmp_path, **changes, scheduler=stopping)
        (tmp_path / "train.sh").write_text(SHELL)
        assert run(tmp_path, *on(workers)) == 0
        result = tuneflow.load(url)
        stopped = {fact.trial for fact in result.history.facts if isinstance(fact, Stopped)}
        assert stopped
        assert stopped <= {int(trial) for trial, _ in notes(tmp_path, "ended")}
        assert result.failed == []


class TestFailures:
    def test_crashes_and_hangs_fail_with_clear_words_and_harm_no_other_trial(self, tmp_path):
        url = prepare(
            tmp_path,
            objective="train.py:misbehaves",
            space={
                "kind": {"type": "grid", "values": ["crash", "hang", "fine"]},
                "rate": {"type": "grid", "values": [0.1, 0.2]},
            },
            searcher="grid",
            scheduler="fifo",
            trials=None,
        )
        process = ("--set", "executor.isolation=process", "--set", "executor.timeout=5")
        assert run(tmp_path, *LOCAL, *process) == 3
        result = tuneflow.load(url)
        said = {(t.params["kind"], t.failure and t.failure.message) for t in result.trials}
        assert said == {
            ("crash", "killed by SIGSEGV"),
            ("hang", "the segment took more than 5 seconds"),
            ("fine", None),
        }
        assert result.history.counts["completed"] == 2
        assert result.best_value == 0.1

    def test_fail_fast_leaves_a_study_that_completes_once_it_is_mended(self, tmp_path, workers):
        url = prepare(
            tmp_path,
            objective="train.py:breaks",
            scheduler="fifo",
            trials=6,
            budget={"fail_fast": True},
        )
        (tmp_path / "broken").touch()
        assert run(tmp_path, *on(workers)) == 3
        halted = tuneflow.load(url)
        assert halted.state == "halted"
        assert [trial.number for trial in halted.failed] == [1]
        assert "RuntimeError: the data is not there" in str(halted.failed[0].failure)
        # What the halt found under way is begun anew.
        told = [json.loads(data) for data in outcomes(url).values()]
        finished = {one["trial"] for one in told if one["status"] == "completed"}
        (tmp_path / "broken").unlink()
        assert resume(url) == 0
        result = tuneflow.load(url)
        assert result.state == "finished"
        assert result.history.counts["completed"] == len(result.trials) == 6
        again = computed(tmp_path)
        assert again[1, 1] == 2
        assert all(again[number, 1] == 1 for number in finished)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.local("is about the folder that `make demo` leaves")
def test_the_demo_finds_a_good_classifier_in_two_minutes(tmp_path):
    """What `make demo` does, on a copy of the example."""
    shutil.copytree("examples/digits", tmp_path / "digits")
    arguments = ("run", "digits/study.yaml", "--storage", "results")
    done = command(*arguments, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    url = tmp_path / "results" / "digits"
    result = tuneflow.load(url)
    assert len(result.trials) >= 30
    assert result.best_value >= 0.97
    assert result.failed == []
    workers = {json.loads(data)["worker"] for data in outcomes(url).values()}
    assert workers == {"worker-0", "worker-1"}
    assert saved(url)
    done = command("report", url, "-o", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{result.best_value:.5g}" in (tmp_path / "report.html").read_text()
