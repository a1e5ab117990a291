"""A storage that is damaged, full or away: one clear error at most, and nothing is lost."""

from __future__ import annotations

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

import tuneflow
from tests import trainer
from tests.command import error_of
from tests.command import tuneflow as command
from tests.damage import damage
from tests.end_to_end import (
    INLINE,
    LOCAL,
    assert_whole,
    entries,
    held,
    let_go,
    outcomes,
    prepare,
    reported,
    resume,
    run,
)
from tests.rights import SYS_ADMIN, may
from tuneflow.checkpoints import Checkpoints
from tuneflow.journal import Journal
from tuneflow.outcomes import read_outcome
from tuneflow.store import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.local("it damages files, or fills the disk that they are on"),
]

ROUNDS = {"round_size": "all"}
HEAVY = '''
import random

def heavy(config):
    """Learn, with a checkpoint of 64 KB that nobody else has."""
    for metrics, save in learn(config, HERE):
        number = tuneflow.current_trial().number
        ballast = random.Random(f"{number}-{metrics['loss']}").randbytes(64 << 10)

        def save_all(folder, save=save, ballast=ballast):
            save(folder)
            (folder / "ballast").write_bytes(ballast)

        yield metrics, save_all
'''


@contextmanager
def disk(folder, size):
    """A small disk of its own that is seen at a folder; its owner may make it larger."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def enlarge(folder):
    mount("-o", "remount,size=64m", folder)


def prepare_heavy(folder, **changes):
    url = prepare(folder, objective="train.py:heavy", **changes)
    with (folder / "train.py").open("a") as train:
        train.write(HEAVY)
    return url


def assert_nothing_is_torn(url):
    """Everything that can be seen is whole, whatever could not be written."""
    store = Store(url)
    checkpoints = Checkpoints(store)
    Journal(store).read()
    for key, data in outcomes(url).items():
        read_outcome(data, key)
    refs = [key for key in store.list("trials") if "/checkpoints/" in key]
    for ref in refs:
        assert checkpoints.newest([ref]) is not None, ref
    staged = [path for path in Path(url).rglob("*") if re.search(r"#\d+$", path.name)]
    assert staged == []


def expected_of(folder, **changes):
    """Return what a study comes to that nothing happens to."""
    folder.mkdir()
    url = prepare_heavy(folder, **changes)
    assert run(folder, *INLINE) == 0
    return values_of(url)


def values_of(url):
    result = tuneflow.load(url)
    return [(trial.params, trial.resource, str(trial.state)) for trial in result.trials]


class TestDamagedCheckpoints:
    @pytest.mark.parametrize("kind", ["torn", "flipped", "missing"])
    def test_a_study_goes_on_from_what_is_good(self, tmp_path, kind):
        """The newest checkpoint of every trial is damaged while nobody drives the study."""
        url = prepare(tmp_path)
        with held(tmp_path, "run", "study.yaml", *INLINE, limit=14) as started:
            started.kill()
        newest = {}
        for path in sorted(Path(url).glob("trials/*/checkpoints/*.json")):
            newest[path.parent] = path
        for path in newest.values():
            damage(path, kind)
        let_go(tmp_path)
        done = command("resume", url, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        result = tuneflow.load(url)
        assert result.state == "finished"
        expected = {(t.number, level) for t in result.trials for level in range(1, t.resource + 1)}
        assert reported(result) == dict.fromkeys(expected, 1)
        for trial in result.trials:
            assert result.value(trial) == trainer.loss_after(trial.params, trial.resource)

    def test_a_damaged_entry_stops_a_resume_with_one_error(self, tmp_path):
        url = prepare(tmp_path)
        assert run(tmp_path, *INLINE) == 0
        before = entries(url)
        name = sorted(before)[len(before) // 2]
        damage(Path(url) / "journal" / name, "flipped")
        done = command("resume", url, cwd=tmp_path)
        assert done.returncode == 6
        assert f"journal/{name} is torn or altered" in error_of(done)
        assert entries(url).keys() == before.keys()


MODES = [
    pytest.param(INLINE, {}, id="inline"),
    pytest.param(INLINE, ROUNDS, id="rounds"),
    pytest.param(LOCAL, {}, id="dask"),
]


@pytest.mark.skipif(not may(SYS_ADMIN), reason="mounting a small disk needs CAP_SYS_ADMIN")
class TestFullDisk:
    @pytest.mark.parametrize(("executor", "changes"), MODES)
    def test_a_study_stops_with_one_error_and_goes_on_when_there_is_room(
        self, tmp_path, executor, changes
    ):
        with disk(tmp_path / "small" / "tuneflow-results", "600k") as storage:
            url = prepare_heavy(tmp_path / "small", **changes)
            done = command("run", "study.yaml", *executor, cwd=tmp_path / "small")
            assert done.returncode == 4, done.stderr
            assert "the disk is full" in error_of(done)
            assert_nothing_is_torn(url)
            enlarge(storage)
            assert resume(url) == 0
            assert_whole(url)
            if executor is INLINE:
                assert values_of(url) == expected_of(tmp_path / "large", **changes)

    @pytest.mark.parametrize("executor", [INLINE, LOCAL], ids=["inline", "dask"])
    def test_where_only_checkpoints_have_no_room_no_trial_is_given_up(self, tmp_path, executor):
        url = prepare_heavy(tmp_path)
        with disk(Path(url) / "blobs", "200k") as blobs:
            done = command("run", "study.yaml", *executor, cwd=tmp_path)
            assert done.returncode == 4, done.stderr
            assert "the disk is full" in error_of(done)
            assert_nothing_is_torn(url)
            assert tuneflow.load(url).failed == []
            enlarge(blobs)
            assert resume(url) == 0
            assert_whole(url)

    @pytest.mark.parametrize(("executor", "changes"), MODES)
    def test_where_only_the_journal_has_no_room_what_is_committed_stands(
        self, tmp_path, executor, changes
    ):
        url = prepare(tmp_path, **changes)
        room = "8k" if changes else "24k"
        with disk(Path(url) / "journal", room) as journal:
            done = command("run", "study.yaml", *executor, cwd=tmp_path)
            assert done.returncode == 4, done.stderr
            assert "the disk is full" in error_of(done)
            assert_nothing_is_torn(url)
            enlarge(journal)
            assert resume(url) == 0
            assert_whole(url)

    def test_a_trial_that_has_no_room_for_its_own_files_fails_and_can_be_tried_again(
        self, tmp_path
    ):
        """The disk of the worker is full, and the storage is not."""
        url = prepare_heavy(tmp_path)
        with disk(tmp_path / "scratch", "40k") as scratch:
            env = {"TMPDIR": str(scratch)}
            done = command("run", "study.yaml", *INLINE, cwd=tmp_path, env=env)
            assert done.returncode == 3, done.stderr
            assert "No space left on device" in error_of(done)
            assert_nothing_is_torn(url)
            enlarge(scratch)
            again = command("resume", url, "--retry-failed", cwd=tmp_path, env=env)
            assert again.returncode == 0, again.stderr
        assert_whole(url)
