"""A checkpoint is complete or not there, and what is damaged is noticed."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from tests.unit.test_manifest import VERSION_1
from tuneflow import blobs, checkpoint_files, restoring, storing
from tuneflow.checkpoints import Checkpoints, FileEntry
from tuneflow.errors import CheckpointCorruptError, SpecError, StorageError
from tuneflow.store import NotFound, Store

REF = "trials/000017/checkpoints/0003-27.json"
LARGE = 3 << 20


class CountingStore(Store):
    """A store that remembers what is asked of it: a word and a key each."""

    def __init__(self, url):
        super().__init__(url)
        self.calls = []

    def upload(self, path, chunks, size):
        self.calls.append(("upload", path))
        super().upload(path, chunks, size)

    def add(self, path, data):
        self.calls.append(("add", path))
        return super().add(path, data)

    def put(self, path, data):
        self.calls.append(("put", path))
        super().put(path, data)

    def create(self, path, data):
        self.calls.append(("create", path))
        super().create(path, data)

    def stat(self, path):
        self.calls.append(("stat", path))
        return super().stat(path)


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def distant(tmp_path):
    """A store that is no folder, so that all it has went through its methods."""
    return CountingStore(f"memory://{uuid.uuid4().hex}/inner")


@pytest.fixture
def checkpoints(store):
    return Checkpoints(store)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "optim" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "model.bin").write_bytes(b"weights" * 1000)
    (folder / "optim" / "deep" / "state").write_bytes(b"momentum")
    (folder / "zero").write_bytes(b"")
    return folder


def blob_file(tmp_path, content):
    digest = blake3(content).hexdigest()
    (found,) = (tmp_path / "store" / "blobs" / digest[:2]).glob(f"{digest}*")
    return found


def tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class TestSaveAndRestore:
    def test_brings_back_every_file_and_the_reports(self, checkpoints, source, tmp_path):
        reports = [{"loss": 0.5, "resource": 26}, {"loss": "NaN"}]
        saved = checkpoints.save(REF, source, resource=27, reports=reports)
        restored = checkpoints.restore(REF, tmp_path / "new" / "target")
        assert tree(tmp_path / "new" / "target") == tree(source)
        assert saved == restored == checkpoints.load(REF)
        assert [entry.path for entry in saved.files] == ["model.bin", "optim/deep/state", "zero"]
        assert (restored.resource, restored.reports) == (27, tuple(reports))

    def test_takes_a_single_file(self, checkpoints, source, tmp_path):
        checkpoints.save(REF, source / "model.bin", resource=0.5)
        checkpoints.restore(REF, tmp_path / "target")
        assert tree(tmp_path / "target") == {"model.bin": b"weights" * 1000}

    def test_takes_an_empty_folder(self, checkpoints, tmp_path):
        (tmp_path / "nothing" / "inner").mkdir(parents=True)
        assert checkpoints.save(REF, tmp_path / "nothing", resource=1).files == ()
        checkpoints.restore(REF, tmp_path / "target")
        assert list((tmp_path / "target").iterdir()) == []
        assert checkpoints.newest([REF]) is not None

    def test_restores_what_the_first_version_wrote(self, store, tmp_path):
        for content in (b"weights" * 1000, b"momentum", b""):
            digest = blake3(content).hexdigest()
            store.put(f"blobs/{digest[:2]}/{digest}", content)
        store.create(REF, VERSION_1)
        manifest = Checkpoints(store).restore(REF, tmp_path / "target")
        assert (manifest.resource, manifest.reports[0]["loss"]) == (27, 0.5)
        assert tree(tmp_path / "target") == {
            "model.bin": b"weights" * 1000,
            "optim/deep/state": b"momentum",
            "zero": b"",
        }

    @pytest.mark.parametrize("kind", ["store", "distant"])
    def test_restores_a_file_of_many_pieces(self, request, tmp_path, monkeypatch, kind):
        distant = request.getfixturevalue(kind)
        monkeypatch.setattr(restoring, "_RANGE", 1_000_000)
        content = bytes(range(251)) * 40_000
        (tmp_path / "weights").write_bytes(content)
        Checkpoints(distant).save(REF, tmp_path / "weights", resource=1)
        Checkpoints(distant).restore(REF, tmp_path / "target")
        assert (tmp_path / "target" / "weights").read_bytes() == content

    def test_writes_the_manifest_after_every_file(self, distant, source):
        (source / "large").write_bytes(bytes(LARGE))
        Checkpoints(distant).save(REF, source, resource=1)
        assert distant.calls.pop() == ("create", REF)
        written = [word for word, key in distant.calls if key.startswith("blobs/")]
        assert sorted(written) == ["add", "add", "stat", "upload"]

    def test_in_a_folder_the_blobs_are_on_the_disk_before_the_manifest(
        self, store, source, tmp_path, monkeypatch
    ):
        synced, fsync, create = [], os.fsync, Store.create

        def note(handle):
            synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            fsync(handle)

        def check(self, path, data):
            blobs = tmp_path / "store" / "blobs"
            folders = {str(path) for path in blobs.iterdir()}
            assert len(folders) == 2
            assert {*folders, str(blobs)} <= set(synced)
            assert sum(path.startswith(f"{blobs}/staged#") for path in synced) == 2
            create(self, path, data)

        monkeypatch.setattr(os, "fsync", note)
        monkeypatch.setattr(Store, "create", check)
        Checkpoints(store).save(REF, source, resource=1)
        assert len(store.list("blobs")) == 2

    def test_in_a_folder_a_blob_of_somebody_else_is_forced_to_the_disk_as_well(
        self, store, source, monkeypatch
    ):
        Checkpoints(store).save("old.json", source / "model.bin", resource=1)
        synced, fsync = [], os.fsync

        def note(handle):
            synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", note)
        Checkpoints(store).save(REF, source / "model.bin", resource=1)
        (blob,) = store.list("blobs")
        assert any(path.endswith(blob.rpartition("/")[0]) for path in synced)

    @pytest.mark.parametrize("size", [1, LARGE])
    def test_a_save_that_dies_between_the_files_leaves_no_checkpoint(
        self, distant, source, monkeypatch, size
    ):
        def die(*args):
            raise StorageError("disk full")

        (source / "model.bin").write_bytes(bytes(size))
        monkeypatch.setattr(distant, "upload", die)
        monkeypatch.setattr(distant, "add", die)
        with pytest.raises(StorageError):
            Checkpoints(distant).save(REF, source, resource=1)
        assert REF not in distant.list()

    def test_a_save_that_dies_leaves_nothing_unnamed_in_a_folder(
        self, store, source, tmp_path, monkeypatch
    ):
        def die(*args):
            raise StorageError("away")

        monkeypatch.setattr(store, "stat", die)
        with pytest.raises(StorageError):
            Checkpoints(store).save(REF, source, resource=1)
        assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("size", [10, LARGE])
    def test_equal_files_of_one_checkpoint_are_stored_once(self, distant, tmp_path, size):
        folder = tmp_path / "twins"
        folder.mkdir()
        for name in "abc":
            (folder / name).write_bytes(bytes(size))
        Checkpoints(distant).save(REF, folder, resource=1)
        assert len(distant.list("blobs")) == 1
        assert sum(word in {"add", "upload"} for word, _ in distant.calls) == 1
        Checkpoints(distant).restore(REF, tmp_path / "target")
        assert tree(tmp_path / "target") == tree(folder)

    def test_a_second_save_of_a_segment_returns_the_first(self, checkpoints, source):
        first = checkpoints.save(REF, source, resource=27)
        (source / "model.bin").write_bytes(b"other")
        assert checkpoints.save(REF, source, resource=27) == first
        assert checkpoints.load(REF) == first


class TestFilesThatChange:
    """A checkpoint must not be half of one state and half of another."""

    @pytest.mark.parametrize("kind", ["store", "distant"])
    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_is_noticed_when_a_file_changes_between_reading_and_storing(
        self, request, source, monkeypatch, kind, size
    ):
        store, file = request.getfixturevalue(kind), source / "model.bin"
        file.write_bytes(bytes(size))
        in_parallel = blobs.in_parallel

        def changing(function, values, threads):
            results = in_parallel(function, values, threads)
            file.write_bytes(b"1" * size)
            return results

        monkeypatch.setattr(blobs, "in_parallel", changing)
        with pytest.raises(CheckpointCorruptError, match=r"model\.bin changed while"):
            Checkpoints(store).save(REF, file, resource=1)
        for key in store.list("blobs"):
            assert blake3(store.get(key)).hexdigest() in key
        assert REF not in store.list()

    @pytest.mark.parametrize("kind", ["store", "distant"])
    @pytest.mark.parametrize("how", ["shorter", "gone", "longer"])
    def test_is_noticed_when_a_file_is_cut_or_removed(
        self, request, source, monkeypatch, kind, how
    ):
        store, file = request.getfixturevalue(kind), source / "model.bin"
        cut = storing.cut

        def late(path):
            spans = cut(path)
            match how:
                case "shorter":
                    os.truncate(path, 10)
                case "longer":
                    path.write_bytes(path.read_bytes() + b"more")
                case "gone":
                    path.unlink()
            return spans

        monkeypatch.setattr(storing, "cut", late)
        with pytest.raises(CheckpointCorruptError, match=r"model\.bin changed while"):
            Checkpoints(store).save(REF, file, resource=1)
        assert REF not in store.list()


class TestSources:
    def test_follows_links_inside_the_folder(self, checkpoints, source, tmp_path):
        (source / "latest").symlink_to("optim")
        (source / "best").symlink_to(source / "model.bin")
        checkpoints.save(REF, source, resource=1)
        checkpoints.restore(REF, tmp_path / "target")
        found = tree(tmp_path / "target")
        assert found["latest/deep/state"] == b"momentum"
        assert found["best"] == found["model.bin"]
        assert not (tmp_path / "target" / "best").is_symlink()

    @pytest.mark.parametrize(
        ("place", "problem"),
        [
            ("/etc/passwd", "leads out of the checkpoint"),
            ("..", "leads out of the checkpoint"),
            (".", "a folder that it lies in"),
            ("missing", "is a broken link"),
            ("link", "is a broken link"),
        ],
    )
    def test_refuses_other_links(self, checkpoints, store, source, place, problem):
        (source / "link").symlink_to(place)
        with pytest.raises(SpecError, match=problem):
            checkpoints.save(REF, source, resource=1)
        assert store.list() == []

    @pytest.mark.parametrize("kind", ["store", "distant"])
    @pytest.mark.parametrize("denied", [("open", "model.bin"), ("iterdir", "optim")])
    def test_blames_a_file_that_may_not_be_read_and_not_the_storage(
        self, request, source, monkeypatch, kind, denied
    ):
        method, name = denied
        usual = getattr(Path, method)

        def refusing(path, *args, **options):
            if path.name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return usual(path, *args, **options)

        monkeypatch.setattr(Path, method, refusing)
        store = request.getfixturevalue(kind)
        with pytest.raises(SpecError, match=rf"^checkpoint: '\S+/{name}' may not be read; let"):
            Checkpoints(store).save(REF, source, resource=1)
        assert REF not in store.list()

    @pytest.mark.parametrize("name", ["model.bin", "optim"])
    def test_is_noticed_when_something_goes_away_before_it_is_looked_at(
        self, checkpoints, source, monkeypatch, name
    ):
        gone = source / name

        def looked_at(module, function):
            usual = getattr(module, function)

            def late(path, *args):
                if path.name == name and path.exists():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                return usual(path, *args)

            monkeypatch.setattr(module, function, late)

        looked_at(storing, "cut")
        looked_at(checkpoint_files, "_walk")
        with pytest.raises(CheckpointCorruptError, match=rf"{gone.name} changed while"):
            checkpoints.save(REF, source, resource=1)

    def test_refuses_a_pipe_instead_of_waiting_for_it(self, checkpoints, source):
        os.mkfifo(source / "pipe")
        with pytest.raises(SpecError, match="neither file nor folder"):
            checkpoints.save(REF, source, resource=1)

    def test_refuses_a_source_that_is_missing(self, checkpoints, tmp_path):
        with pytest.raises(SpecError, match="missing' is neither file nor folder"):
            checkpoints.save(REF, tmp_path / "missing", resource=1)

    @pytest.mark.parametrize("name", ["back\\slash", "new\nline", b"not-\xff-utf8"])
    def test_refuses_file_names_that_not_every_system_has(self, checkpoints, store, source, name):
        (source / os.fsdecode(name)).write_bytes(b"")
        with pytest.raises(SpecError, match="rename the file"):
            checkpoints.save(REF, source, resource=1)
        assert store.list() == []

    @pytest.mark.parametrize("report", [{"loss": float("nan")}, {"loss": object()}])
    def test_refuses_reports_that_are_not_json(self, checkpoints, source, report):
        with pytest.raises(SpecError, match="must be JSON"):
            checkpoints.save(REF, source, resource=1, reports=[report])


class TestDamage:
    @pytest.fixture(autouse=True)
    def _saved(self, checkpoints, source):
        checkpoints.save("old.json", source / "zero", resource=1)
        checkpoints.save(REF, source, resource=27)

    def damage(self, tmp_path, how):
        blob, manifest = blob_file(tmp_path, b"momentum"), tmp_path / "store" / REF
        match how:
            case "flipped bit in a file":
                blob.write_bytes(b"momentul")
            case "truncated file":
                blob.write_bytes(b"momen")
            case "missing file":
                blob.unlink()
            case "torn manifest":
                manifest.write_bytes(manifest.read_bytes()[:-20])
            case "empty manifest":
                manifest.write_bytes(b"")
            case "altered manifest":
                manifest.write_bytes(manifest.read_bytes().replace(b":27,", b":26,"))
            case "missing manifest":
                manifest.unlink()

    @pytest.fixture(params=[4 << 20, 64 << 20])
    def ranges(self, request, monkeypatch):
        """Have large files fetched in several ranges, or in one."""
        monkeypatch.setattr(restoring, "_RANGE", request.param)

    @pytest.mark.usefixtures("ranges")
    @pytest.mark.parametrize("how", ["flipped", "shorter", "longer", "missing"])
    @pytest.mark.parametrize("size", [5 << 20, 8 << 20, 9 << 20])
    def test_restore_finds_damage_in_any_piece_of_a_large_file(self, distant, tmp_path, size, how):
        (tmp_path / "weights").write_bytes(bytes(size))
        manifest = Checkpoints(distant).save(REF, tmp_path / "weights", resource=1)
        (key,) = manifest.blobs()
        match how:
            case "flipped":
                distant.put(key, bytes(size - 1) + b"1")
            case "shorter":
                distant.put(key, bytes(4 << 20))
            case "longer":
                distant.put(key, b"1" + bytes(size))
            case "missing":
                distant.delete([key])
        with pytest.raises(CheckpointCorruptError, match=f"^checkpoint {REF}: weights"):
            Checkpoints(distant).restore(REF, tmp_path / "target")
        assert list((tmp_path / "target").iterdir()) == []

    def test_restore_believes_no_manifest_about_a_size_that_nothing_has(
        self, checkpoints, store, source, tmp_path
    ):
        manifest = checkpoints.save(f"{REF[:-5]}1.json", source / "model.bin", resource=1)
        (entry,) = manifest.files
        huge = FileEntry(entry.path, (replace(entry.parts[0], size=2**52),))
        other = REF.replace("27", "28")
        store.put(other, replace(manifest, files=(huge,)).to_bytes())
        with pytest.raises(CheckpointCorruptError, match=rf"7000 bytes instead of {2**52}"):
            checkpoints.restore(other, tmp_path / "target")

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ("flipped bit in a file", "optim/deep/state has the hash .* instead of"),
            ("truncated file", "optim/deep/state has 5 bytes instead of 8"),
            ("missing file", "optim/deep/state is missing"),
            ("torn manifest", "may be torn"),
            ("empty manifest", "may be torn"),
            ("altered manifest", "is altered"),
        ],
    )
    def test_restore_names_it_and_leaves_the_target_empty(
        self, checkpoints, tmp_path, how, message
    ):
        self.damage(tmp_path, how)
        (tmp_path / "target").mkdir()
        with pytest.raises(CheckpointCorruptError, match=f"^checkpoint {REF}: .*{message}"):
            checkpoints.restore(REF, tmp_path / "target")
        assert list((tmp_path / "target").iterdir()) == []

    @pytest.mark.parametrize(
        "how",
        ["truncated file", "missing file", "torn manifest", "altered manifest", "missing manifest"],
    )
    def test_newest_falls_back_and_says_so(self, checkpoints, tmp_path, how, caplog):
        self.damage(tmp_path, how)
        with caplog.at_level(logging.WARNING, "tuneflow"):
            ref, manifest = checkpoints.newest(["old.json", REF])
        assert (ref, manifest.resource) == ("old.json", 1)
        assert "falling back to an older checkpoint" in caplog.text
        assert REF in caplog.text

    def test_a_thread_of_an_interrupted_restore_does_not_write_into_the_next_one(
        self, distant, tmp_path, monkeypatch
    ):
        folder, target = tmp_path / "files", tmp_path / "target"
        folder.mkdir()
        for name in ("early", "late"):
            (folder / name).write_bytes(name.encode())
        manifest = Checkpoints(distant).save("new.json", folder, resource=1)
        late = manifest.files[1].parts[0].key
        began, may_go_on, ended = threading.Event(), threading.Event(), threading.Event()
        stream = distant.stream

        def slow(key, start, length):
            if key == late:
                began.set()
                may_go_on.wait(30)
            else:
                # A thread that has not begun by then never does.
                began.wait(30)
                raise KeyboardInterrupt
            yield from stream(key, start, length)

        def fetch(self, piece, fetch=restoring.Restoring._fetch):
            try:
                fetch(self, piece)
            finally:
                if piece.part.key == late:
                    ended.set()

        monkeypatch.setattr(distant, "stream", slow)
        monkeypatch.setattr(restoring.Restoring, "_fetch", fetch)
        with pytest.raises(KeyboardInterrupt):
            Checkpoints(distant).restore("new.json", target)
        (target / "late").write_bytes(b"older")
        may_go_on.set()
        assert ended.wait(30)
        assert tree(target) == {"late": b"older"}

    def test_restore_newest_falls_back_from_a_flipped_bit(self, checkpoints, tmp_path):
        self.damage(tmp_path, "flipped bit in a file")
        ref, manifest = checkpoints.restore_newest(["old.json", REF], tmp_path / "target")
        assert (ref, manifest.resource) == ("old.json", 1)
        assert tree(tmp_path / "target") == {"zero": b""}

    def test_newest_is_the_last_when_all_are_good_and_none_when_none_is(
        self, checkpoints, tmp_path
    ):
        ref, manifest = checkpoints.newest(["old.json", REF])
        assert (ref, manifest.resource) == (REF, 27)
        self.damage(tmp_path, "missing file")
        assert checkpoints.newest([REF]) is None
        assert checkpoints.newest([]) is None

    def test_a_storage_that_fails_is_not_taken_for_damage(self, store, monkeypatch):
        def fail(key):
            raise StorageError("cannot be reached")

        monkeypatch.setattr(store, "get", fail)
        with pytest.raises(StorageError):
            Checkpoints(store).newest(["old.json", REF])

    def test_a_missing_checkpoint_is_not_found(self, checkpoints, tmp_path):
        with pytest.raises(NotFound):
            checkpoints.load("missing.json")
        with pytest.raises(NotFound):
            checkpoints.restore("missing.json", tmp_path / "target")

    def test_refuses_to_restore_over_files(self, checkpoints, source):
        before = tree(source)
        with pytest.raises(SpecError, match="is not empty"):
            checkpoints.restore(REF, source)
        assert tree(source) == before
