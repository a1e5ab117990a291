"""Collecting removes what nobody needs, and nothing that somebody may still rely on."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.champions import champion
from tests.machine import make_study
from tuneflow.checkpointing import Checkpointing, Keep
from tuneflow.checkpoints import Checkpoints
from tuneflow.collecting import COLLECT, collect, collecting
from tuneflow.collecting.background import MANY, PAUSE, Background
from tuneflow.collecting.collector import Collector
from tuneflow.errors import SpecError, StorageError
from tuneflow.events import Closed, Finished, Launched, Opened, Reported
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import write_outcome
from tuneflow.pipeline.collecting import collect_between_rounds
from tuneflow.retention import Needs
from tuneflow.retune.champions import ChampionLog
from tuneflow.schedulers import FIFO
from tuneflow.store import Store
from tuneflow.trial import Outcome, Report, checkpoint_ref

LAST = Checkpointing(keep=Keep(last=1))
TRAIN = {"function": "train.py:train"}
LONG_AGO = 3 * COLLECT


class Scene:
    """A study in a folder, whose trials do as they are told; its first three trials run."""

    def __init__(self, folder, name="study", **changes):
        fields = {"name": name, "trials": 3, "objective": TRAIN, "checkpoints": LAST}
        study = make_study(FIFO(max_resource=9), **{**fields, **changes})
        self.opened = OpenStudy.create(study, str(folder))
        self.root = Path(folder, name)
        self.store = Store(self.opened.url)
        self.scratch = Path(folder, "scratch")
        self.scratch.mkdir(exist_ok=True)
        for trial in range(3):
            self.launch(trial, params={"x": 0.5})

    def commit(self, *facts):
        self.opened.history.extend(facts)
        self.opened.commit(facts)
        return facts

    def launch(self, trial, segment=0, **options):
        self.commit(Launched(trial, segment, None, **options))

    def save(self, trial, level, *contents, segment=None):
        """Store a checkpoint that nobody has reported yet, of files with these contents."""
        newest = self.opened.history.trials[trial].segment
        ref = checkpoint_ref(trial, newest if segment is None else segment, level)
        source = self.scratch / f"{time.monotonic_ns()}"
        source.mkdir()
        for number, content in enumerate(contents or (f"weights of {ref}",)):
            (source / f"{number}.bin").write_text(content)
        Checkpoints(self.store).save(ref, source, resource=level)
        return ref

    def report(self, trial, level, *contents, loss=1.0):
        ref = self.save(trial, level, *contents)
        self.commit(Reported(trial, Report(level, {"loss": loss}, ref)))
        return ref

    def close(self, trial, status="completed"):
        segment = self.opened.history.trials[trial].segment
        write_outcome(self.store, Outcome(trial, segment, status))
        self.commit(Closed(trial, status))

    def finish(self):
        for trial in list(self.opened.history.running):
            self.close(trial)
        self.commit(Finished("it is enough"))

    def age(self, seconds=LONG_AGO, pattern="**/*"):
        """Let everything have been written so many seconds earlier."""
        for path in self.root.glob(pattern):
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))

    def collect(self, **options):
        return collect(self.opened, **options)

    def manifests(self):
        return set(self.store.list("trials")) - {
            key for key in self.store.list("trials") if "/checkpoints/" not in key
        }

    def blobs(self):
        return set(self.store.list("blobs"))

    def blobs_of(self, *refs):
        checkpoints = Checkpoints(self.store)
        return {key for ref in refs for key in checkpoints.load(ref).blobs()}

    def assert_whole(self, *refs):
        """Make sure that the manifests are these, and that all of them can be restored."""
        assert self.manifests() == set(refs)
        for ref in refs:
            Checkpoints(self.store).restore(ref, self.scratch / f"{time.monotonic_ns()}")

    def tree(self):
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files}


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


class TestManifests:
    def test_superseded_ones_go_and_the_others_stay(self, scene):
        old = [scene.report(0, level) for level in (1, 2)]
        new, other = scene.report(0, 3), scene.report(1, 1)
        done = scene.collect()
        assert set(done.superseded) == set(old)
        assert done.kept == {new: "its trial runs", other: "its trial runs"}
        scene.assert_whole(new, other)
        assert scene.collect().is_empty

    def test_all_are_kept_unless_the_study_says_otherwise(self, tmp_path):
        scene = Scene(tmp_path, checkpoints=Checkpointing())
        refs = [scene.report(0, level) for level in (1, 2, 3)]
        assert scene.collect().is_empty
        assert set(scene.collect(keep=Keep(last=2)).superseded) == {refs[0]}
        scene.assert_whole(*refs[1:])

    def test_what_is_not_reported_yet_stays_for_as_long_as_its_segment_is_open(self, scene):
        told, untold = scene.report(0, 1), scene.save(0, 2)
        scene.age()
        assert scene.collect().kept[untold] == "it is not reported yet"
        scene.assert_whole(told, untold)

    def test_what_a_segment_that_was_run_again_wrote_last_stays(self, scene):
        """It began before what was reported last, and relies on what it wrote itself."""
        refs = [scene.report(0, level) for level in (1, 2, 3, 4)]
        scene.age()
        os.utime(scene.root / refs[1])
        done = scene.collect()
        assert done.kept[refs[1]] == "it is the newest of a segment that runs"
        scene.assert_whole(refs[1], refs[3])

    def test_what_nobody_reported_goes_when_its_segment_ended_long_ago(self, scene):
        told, untold = scene.report(0, 1), scene.save(0, 2)
        scene.close(0)
        assert scene.collect().kept[untold] == "its segment ended a short time ago"
        scene.age(pattern="trials/**/*.json")
        os.utime(scene.root / untold)
        assert scene.collect().is_empty, "its worker is still at work"
        scene.age()
        assert scene.collect().stray == (untold,)
        scene.assert_whole(told)

    def test_segments_without_an_outcome_are_left_alone(self, scene):
        untold = scene.save(0, 2)
        scene.commit(Closed(0, "lost"))
        scene.age()
        assert scene.collect().is_empty
        scene.assert_whole(untold)

    def test_what_this_history_does_not_know_of_is_left_alone(self, scene):
        """A driver that was taken over knows less than the storage has."""
        scene.report(0, 1)
        stale = OpenStudy.open(scene.opened.url)
        scene.report(0, 2)
        scene.close(0, "paused")
        scene.launch(0, 1, start=2, checkpoint=checkpoint_ref(0, 0, 2))
        newest = scene.report(0, 3)
        scene.launch(3, params={"x": 0.1})
        new_trial = scene.report(3, 1)
        scene.age()
        collect(stale)
        assert {checkpoint_ref(0, 0, 2), newest, new_trial} <= scene.manifests()

    def test_files_that_are_no_checkpoints_are_left_alone(self, scene):
        scene.store.put("trials/000000/checkpoints/notes.txt", b"mine")
        scene.store.put("trials/000000/logs/0000.txt", b"output")
        scene.age()
        scene.collect()
        assert scene.store.exists("trials/000000/checkpoints/notes.txt")
        assert scene.store.exists("trials/000000/logs/0000.txt")


class TestBlobs:
    def test_young_ones_wait(self, scene):
        old, new = scene.report(0, 1, "one", "both"), scene.report(0, 2, "two", "both")
        gone = scene.blobs_of(old) - scene.blobs_of(new)
        done = scene.collect()
        assert (set(done.waiting), done.blobs) == (gone, {})
        scene.age(COLLECT - 60, "blobs/**/*")
        assert not scene.collect().blobs
        scene.age(120, "blobs/**/*")
        done = scene.collect()
        assert set(done.blobs) == gone
        assert done.freed == len("one")
        assert scene.blobs() == scene.blobs_of(new)
        scene.assert_whole(new)

    def test_old_ones_go_with_their_manifest(self, scene):
        old, new = scene.report(0, 1), scene.report(0, 2)
        size = (scene.root / old).stat().st_size + len(f"weights of {old}")
        scene.age()
        done = scene.collect()
        assert done.freed == size
        assert scene.blobs() == scene.blobs_of(new)

    def test_those_of_a_finished_study_go_at_once(self, scene):
        scene.report(0, 1, loss=0.1)
        best = scene.report(0, 2, loss=0.2)
        for trial in (1, 2):
            scene.report(trial, 1, loss=0.5)
        scene.finish()
        done = scene.collect(keep=Keep(last=0))
        assert len(done.superseded) == 3
        assert not done.waiting
        assert scene.blobs() == scene.blobs_of(best)
        scene.assert_whole(best)

    def test_a_finished_study_that_still_has_a_segment_open_is_not_over(self, scene):
        scene.report(0, 1)
        scene.report(0, 2)
        for trial in (1, 2):
            scene.close(trial)
        scene.commit(Finished("it is enough"))
        assert scene.opened.history.state == "finishing"
        assert scene.collect().waiting

    def test_what_is_saved_in_the_middle_of_a_collection_stays_whole(self, scene):
        """It relies on blobs of a checkpoint that is kept, and on young ones of nobody."""
        kept = scene.report(0, 1, "of a kept one")
        scene.age()
        gone = scene.save(1, 1, "young", segment=7)
        scene.store.delete([gone])
        saved = []

        class Busy(Store):
            def stats(self, prefix=""):
                if prefix == "trials" and not saved:
                    saved.append(scene.save(0, 2, "of a kept one", "young"))
                found = super().stats(prefix)
                if prefix == "trials" and len(saved) == 1:
                    saved.append(scene.save(0, 3, "of a kept one", "young"))
                return found

        needs = Needs.of(scene.opened.history, Keep(last=1))
        Collector(Busy(scene.store.url)).collect(needs, scene.opened.journal.next_number)
        scene.assert_whole(kept, *saved)

    def test_what_another_collector_removed_and_a_save_stored_again_stays(self, scene):
        old, new = scene.report(0, 1, "again"), scene.report(0, 2)
        again = scene.blobs_of(old)
        scene.age()
        saved = []

        class Busy(Store):
            def get_many(self, paths):
                if not saved and any("checkpoints" in path for path in paths):
                    self.delete(list(again))
                    saved.append(scene.save(0, 3, "again"))
                return super().get_many(paths)

        needs = Needs.of(scene.opened.history, Keep(last=1))
        Collector(Busy(scene.store.url)).collect(needs, scene.opened.journal.next_number)
        assert scene.blobs_of(*saved) == again
        scene.assert_whole(new, *saved)

    def test_the_age_is_told_by_the_clock_of_the_storage(self, scene, monkeypatch):
        scene.report(0, 1)
        scene.report(0, 2)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert not scene.collect().blobs

    def test_a_probe_that_a_killed_collector_left_is_removed_and_nothing_else(self, scene):
        scene.store.put("blobs/probe-00ff", b"probe")
        scene.store.put("blobs/README", b"mine")
        scene.age()
        assert set(scene.collect().blobs) == {"blobs/probe-00ff"}
        assert scene.blobs() == {"blobs/README"}

    def test_those_of_a_damaged_manifest_are_spared(self, scene):
        kept = scene.report(0, 1, "one", "two")
        mine = scene.blobs_of(kept)
        path = scene.root / kept
        path.write_bytes(path.read_bytes().replace(b'"resource":1', b'"resource":7'))
        scene.report(1, 1)
        scene.age()
        done = scene.collect()
        assert done.damaged == (kept,)
        assert mine <= scene.blobs()

    def test_staging_files_of_killed_writers_go(self, scene):
        young, old = (scene.root / "blobs" / f"x#{n:019d}" for n in (1, 2))
        for path in (young, old):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"half")
        os.utime(old, (1, 1))
        assert scene.collect(dry_run=True).staged == 1
        assert old.exists()
        assert scene.collect().staged == 1
        assert young.exists()
        assert not old.exists()


class TestAge:
    def test_a_short_one_is_refused_while_anything_may_run(self, scene):
        with pytest.raises(SpecError, match="--older-than: 60 seconds are not safe"):
            scene.collect(older_than=60)
        scene.collect(older_than=COLLECT)

    def test_a_long_one_is_longer(self, scene):
        scene.report(0, 1)
        scene.report(0, 2)
        scene.age()
        assert scene.collect(older_than=2 * LONG_AGO).waiting
        assert scene.collect().blobs

    def test_a_finished_study_takes_any(self, scene):
        scene.report(0, 1)
        scene.report(0, 2)
        scene.finish()
        assert scene.collect(older_than=60).waiting
        assert scene.collect(older_than=0).blobs


class TestDryRun:
    def test_says_the_same_and_touches_nothing(self, scene):
        scene.report(0, 1)
        scene.report(0, 2)
        scene.save(1, 1)
        scene.close(1)
        scene.age()
        before = scene.tree()
        said = scene.collect(dry_run=True).to_json()
        assert scene.tree() == before
        done = scene.collect().to_json()
        assert (said.pop("dry_run"), done.pop("dry_run")) == (True, False)
        assert said == done
        assert len(said["superseded"]) == len(said["stray"]) == 1
        assert len(said["blobs"]) == 2
        assert json.loads(json.dumps(said)) == said


class TestReferencesFromElsewhere:
    def promote(self, line, uri):
        said = {"champion": champion(checkpoint=uri).to_json(), "comparison": None, "reason": ""}
        ChampionLog(Store(line)).read().append("promoted", said, retune=0)

    def test_a_champion_of_the_line_that_began_with_the_study_stays(self, scene):
        refs = [scene.report(0, level) for level in (1, 2, 3)]
        self.promote(scene.opened.url, f"{scene.opened.url}/{refs[0]}")
        done = scene.collect()
        assert done.kept[refs[0]] == "a champion refers to it"
        scene.assert_whole(refs[0], refs[2])

    @pytest.mark.parametrize(("phase", "stays"), [("challenger", True), ("search", False)])
    def test_a_champion_that_a_retune_measured_stays_in_the_study_that_measured_it(
        self, tmp_path, phase, stays
    ):
        line = tmp_path / "line"
        scene = Scene(line / "retunes" / "000002", phase)
        refs = [scene.report(0, level) for level in (1, 2)]
        self.promote(str(line), f"{line.as_uri()}/retunes/000002/challenger/{refs[0]}")
        scene.collect()
        assert (refs[0] in scene.manifests()) == stays

    @pytest.mark.parametrize("phase", ["champion", "challenger"])
    def test_any_trial_of_a_study_that_measures_may_stand_for_the_champion(self, tmp_path, phase):
        scene = Scene(tmp_path / "retunes" / "000001", phase)
        refs = [scene.report(trial, 1, loss=trial) for trial in range(3)]
        scene.finish()
        scene.collect(keep=Keep(best=0))
        scene.assert_whole(*refs)

    def test_what_is_asked_for_stays(self, scene):
        refs = [scene.report(0, level) for level in (1, 2, 3, 4)]
        uris = [f"s3://bucket/studies/digits/{refs[0]}", refs[1]]
        done = scene.collect(keep_refs=uris)
        assert done.kept[refs[0]] == done.kept[refs[1]] == "it was asked for"
        scene.assert_whole(refs[0], refs[1], refs[3])

    @pytest.mark.parametrize("uri", ["", "s3://bucket/model.bin", "trials/1/checkpoints/../x"])
    def test_what_is_no_checkpoint_cannot_be_asked_for(self, scene, uri):
        with pytest.raises(SpecError, match=r"--keep-ref: .* is no checkpoint of a study"):
            scene.collect(keep_refs=[uri])

    def test_what_is_asked_for_and_is_not_there_is_an_error_before_anything_is_removed(self, scene):
        refs = [scene.report(0, level) for level in (1, 2, 3)]
        missing = "trials/000000/checkpoints/0000-9.json"
        for uri in (missing, f"{scene.opened.url}/{missing}", f"{scene.root}/{missing}"):
            with pytest.raises(SpecError, match=r"--keep-ref: there is no 'trials/000000/.*mend"):
                scene.collect(keep_refs=[uri])
        scene.assert_whole(*refs)

    def test_a_checkpoint_of_another_study_may_be_asked_for(self, scene):
        scene.report(0, 1)
        other = "s3://bucket/other/trials/000007/checkpoints/0000-9.json"
        assert scene.collect(keep_refs=[other]).is_complete


class Failing(Store):
    """A store that fails at its n-th removal."""

    left = 0

    def delete(self, paths):
        type(self).left -= 1
        if self.left < 0:
            raise StorageError("the storage is away")
        super().delete(paths)


class TestTrouble:
    @pytest.fixture
    def busy(self, scene, monkeypatch):
        """A study of which much is to be removed, two objects at a time."""
        monkeypatch.setattr("tuneflow.collecting.collector._BATCH", 2)
        for level in range(1, 6):
            for trial in range(3):
                scene.report(trial, level)
        scene.age()
        return scene

    @pytest.mark.parametrize("left", range(1, 15, 2))
    def test_a_storage_that_fails_in_the_middle_leaves_checkpoints_whole(self, busy, left):
        Failing.left = left
        needs = Needs.of(busy.opened.history, Keep(last=1))
        with suppress(StorageError):
            Collector(Failing(busy.store.url)).collect(needs, busy.opened.journal.next_number)
        busy.assert_whole(*busy.manifests())
        assert {checkpoint_ref(trial, 0, 5) for trial in range(3)} <= busy.manifests()
        busy.collect()
        busy.assert_whole(*(checkpoint_ref(trial, 0, 5) for trial in range(3)))
        assert busy.blobs() == busy.blobs_of(*busy.manifests())

    @pytest.mark.parametrize("asked", range(0, 16, 2))
    def test_it_can_be_told_to_stop_anywhere(self, busy, asked):
        answers = iter([True] * asked)
        done = busy.collect(go_on=lambda: next(answers, False))
        busy.assert_whole(*busy.manifests())
        assert len(busy.manifests()) == 15 - len(done.superseded)
        assert done.is_complete == (len(busy.blobs()) == 3)
        assert busy.collect().is_complete
        assert len(busy.blobs()) == 3

    def test_a_finished_study_that_is_gone_on_with_meanwhile_may_rely_on_young_blobs(self, scene):
        scene.report(0, 1)
        scene.report(0, 2)
        scene.finish()

        class Resumed(Store):
            def stats(self, prefix=""):
                if prefix == "blobs":
                    other = OpenStudy.open(scene.opened.url)
                    fact = Opened(1, retry_failed=True)
                    other.history.append(fact)
                    other.commit([fact])
                return super().stats(prefix)

        needs = Needs.of(scene.opened.history, Keep(last=1))
        collector = Collector(Resumed(scene.store.url))
        done = collector.collect(needs, scene.opened.journal.next_number)
        assert not done.is_complete
        assert not done.blobs
        assert len(scene.blobs()) == 2

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_a_listing_that_lacks_what_is_there_removes_nothing(self, scene, count):
        for trial in range(3):
            for level in (1, 2):
                scene.report(trial, level)
        scene.age()
        before = scene.tree()

        class Forgetful(Store):
            def stats(self, prefix=""):
                found = super().stats(prefix)
                shown = sorted(found)[:count] if prefix == "trials" else found
                return {key: found[key] for key in shown}

        needs = Needs.of(scene.opened.history, Keep(last=1))
        collector = Collector(Forgetful(scene.store.url))
        with pytest.raises(StorageError, match="does not list trials/"):
            collector.collect(needs, scene.opened.journal.next_number)
        assert scene.tree() == before

    def test_a_storage_that_loses_sight_of_a_manifest_for_a_moment_removes_no_blob(self, busy):
        class Blinking(Store):
            def get_many(self, paths):
                found = super().get_many(paths)
                return [None, *found[1:]] if "checkpoints" in str(paths) else found

        before = busy.blobs()
        needs = Needs.of(busy.opened.history, Keep(last=1))
        with pytest.raises(StorageError, match="does not give trials/"):
            Collector(Blinking(busy.store.url)).collect(needs, busy.opened.journal.next_number)
        assert busy.blobs() == before

    def test_a_checkpoint_that_somebody_removed_by_hand_is_not_missed(self, scene):
        kept, gone = scene.report(0, 1), scene.report(1, 1)
        scene.store.delete([gone])
        scene.age()
        assert scene.collect().is_complete
        scene.assert_whole(kept)

    def test_two_at_once_do_no_harm(self, busy):
        barrier, done, errors = threading.Barrier(4), [], []

        def work():
            opened = OpenStudy.open(busy.opened.url)
            barrier.wait()
            try:
                done.append(collect(opened))
            except Exception as error:  # noqa: BLE001 - none is allowed
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        busy.assert_whole(*(checkpoint_ref(trial, 0, 5) for trial in range(3)))
        assert len(busy.blobs()) == 3

    def test_a_manifest_that_somebody_else_removes_refers_to_nothing(self, busy):
        class Racing(Store):
            def get_many(self, paths):
                if any("checkpoints" in path for path in paths):
                    self.delete(paths[:1])
                return super().get_many(paths)

        needs = Needs.of(busy.opened.history, Keep(last=1))
        done = Collector(Racing(busy.store.url)).collect(needs, 0)
        assert done.is_complete
        assert len(busy.manifests()) == 2
        busy.assert_whole(*busy.manifests())


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


class TestWhileAStudyIsDriven:
    @pytest.fixture
    def clock(self):
        return Clock()

    def wait(self, background):
        if background._thread is not None:
            background._thread.join()

    def test_collects_every_few_minutes(self, scene, clock):
        background = Background(scene.opened, clock)
        background.committed(scene.opened.history, scene.commit(Launched(3, 0, None, params={})))
        for level in (1, 2):
            scene.report(0, level)
        clock.time = PAUSE - 1
        background.committed(scene.opened.history, ())
        self.wait(background)
        assert len(scene.manifests()) == 2
        clock.time = PAUSE
        background.committed(scene.opened.history, ())
        self.wait(background)
        assert len(scene.manifests()) == 1
        scene.report(0, 3)
        background.committed(scene.opened.history, ())
        self.wait(background)
        assert len(scene.manifests()) == 2, "the next one is due later"

    def test_collects_when_many_checkpoints_were_reported(self, scene, clock):
        background = Background(scene.opened, clock)
        for level in (1, 2):
            scene.report(0, level)
        clock.time = 1
        fact = Reported(0, Report(3, {}, "ref"))
        background.committed(scene.opened.history, [fact] * (MANY - 1))
        self.wait(background)
        assert len(scene.manifests()) == 2
        background.committed(scene.opened.history, [fact])
        self.wait(background)
        assert len(scene.manifests()) == 1

    def test_one_that_takes_long_is_followed_by_a_long_pause(self, scene, clock, monkeypatch):
        background = Background(scene.opened, clock)
        began = []

        def slowly(*_):
            began.append(clock.time)
            clock.time += 7
            raise StorageError("the storage is away")

        monkeypatch.setattr(background._collector, "collect", slowly)
        many = [Reported(0, Report(3, {}, "ref"))] * MANY
        for seconds in (1, 20, 60, 100):
            clock.time = seconds
            background.committed(scene.opened.history, many)
            self.wait(background)
        assert began == [1, 100]

    def test_does_not_begin_while_one_runs_and_holds_nothing_up(self, scene, clock, monkeypatch):
        background = Background(scene.opened, clock)
        began, go_on = [], threading.Event()

        def slowly(needs, next_entry):
            began.append(next_entry)
            go_on.wait(30)
            raise StorageError("the storage is away")

        monkeypatch.setattr(background._collector, "collect", slowly)
        for minutes in range(1, 5):
            clock.time = minutes * PAUSE
            background.committed(scene.opened.history, ())
        go_on.set()
        self.wait(background)
        assert len(began) == 1

    def test_a_storage_that_fails_is_logged_and_tried_again_later(
        self, scene, clock, caplog, monkeypatch
    ):
        background = Background(scene.opened, clock)
        for level in (1, 2):
            scene.report(0, level)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "stats", _fail)
            clock.time = PAUSE
            background.committed(scene.opened.history, ())
            self.wait(background)
        assert "checkpoints are removed later: the storage is away" in caplog.text
        clock.time = 3 * PAUSE
        background.committed(scene.opened.history, ())
        self.wait(background)
        assert len(scene.manifests()) == 1

    def test_the_end_of_a_study_leaves_what_is_kept_and_nothing_else(self, scene, caplog):
        caplog.set_level(logging.INFO, "tuneflow")
        with collecting(scene.opened) as observe:
            for level in (1, 2, 3):
                for trial in range(3):
                    scene.report(trial, level)
                    observe(scene.opened.history, scene.opened.history.facts[-1:])
            scene.finish()
        scene.assert_whole(*(checkpoint_ref(trial, 0, 3) for trial in range(3)))
        assert scene.blobs() == scene.blobs_of(*scene.manifests())
        assert "6 checkpoints and 6 files of checkpoints" in caplog.text

    def test_a_driver_that_is_interrupted_does_not_collect(self, scene):
        for level in (1, 2):
            scene.report(0, level)
        with pytest.raises(KeyboardInterrupt), collecting(scene.opened):
            raise KeyboardInterrupt
        assert len(scene.manifests()) == 2

    def test_nor_does_one_whose_study_is_halted(self, scene):
        for level in (1, 2):
            scene.report(0, level)
        with collecting(scene.opened):
            pass
        assert len(scene.manifests()) == 2

    def test_a_failing_end_fails_no_study(self, scene, caplog, monkeypatch):
        scene.finish()
        with collecting(scene.opened):
            monkeypatch.setattr(Store, "stats", _fail)
        assert "checkpoints are removed later" in caplog.text

    def test_a_study_that_keeps_all_is_not_looked_at(self, tmp_path, monkeypatch):
        scene = Scene(tmp_path, checkpoints=Checkpointing())
        scene.finish()
        monkeypatch.setattr(Store, "stats", _fail)
        with collecting(scene.opened) as observe:
            assert observe is None


class TestBetweenRounds:
    @pytest.fixture
    def log(self):
        return logging.getLogger("tests.collecting")

    def test_collects_for_a_minute_at_most(self, scene, log, caplog):
        caplog.set_level(logging.INFO, log.name)
        for level in (1, 2):
            scene.report(0, level)
        times = iter([0.0, 61.0])
        collect_between_rounds(scene.opened, log, lambda: next(times, 61.0))
        assert len(scene.manifests()) == 2
        collect_between_rounds(scene.opened, log, Clock())
        assert len(scene.manifests()) == 1
        assert "1 checkpoints" in caplog.text

    def test_fails_no_task(self, scene, log, caplog, monkeypatch):
        monkeypatch.setattr(Store, "stats", _fail)
        collect_between_rounds(scene.opened, log)
        assert "checkpoints are removed later: the storage is away" in caplog.text

    def test_does_nothing_where_all_are_kept(self, tmp_path, log, monkeypatch):
        scene = Scene(tmp_path, checkpoints=Checkpointing())
        monkeypatch.setattr(Store, "stats", _fail)
        collect_between_rounds(scene.opened, log)


def _fail(*_):
    raise StorageError("the storage is away")
