"""A checkpoint is complete or not there, and what is damaged is noticed."""

from __future__ import annotations

import json
import logging
import os

import pytest
from blake3 import blake3

from tuneflow.checkpoints import Checkpoints, FileEntry, Manifest
from tuneflow.errors import CheckpointCorruptError, SpecError, StorageError
from tuneflow.jsonio import dumps
from tuneflow.store import NotFound, Store

REF = "trials/000017/checkpoints/0003-27.json"
DIGEST = "ab" * 32


class CountingStore(Store):
    """A store that remembers the keys of its uploads."""

    def __init__(self, url):
        super().__init__(url)
        self.uploads = []

    def upload(self, path, chunks, size):
        self.uploads.append(path)
        super().upload(path, chunks, size)


@pytest.fixture
def store(tmp_path):
    return CountingStore(f"file://{tmp_path}/store")


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
    return tmp_path / "store" / "blobs" / digest[:2] / digest


def tree(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sealed(**changes):
    """Return a manifest with fields replaced and the checksum made right for them."""
    content = json.loads(Manifest(1, (FileEntry("a", 1, DIGEST),)).to_bytes())
    del content["checksum"]
    content.update(changes)
    return dumps({**content, "checksum": blake3(dumps(content).encode()).hexdigest()}).encode()


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

    def test_writes_the_manifest_after_every_file(self, store, source, monkeypatch):
        calls = []
        upload, create = store.upload, store.create
        monkeypatch.setattr(
            store, "upload", lambda key, *rest: (upload(key, *rest), calls.append(key))
        )
        monkeypatch.setattr(store, "create", lambda *args: (calls.append(args[0]), create(*args)))
        Checkpoints(store).save(REF, source, resource=1)
        assert calls[-1] == REF
        assert sum(key.startswith("blobs/") for key in calls[:-1]) == 3

    def test_a_save_that_dies_between_the_files_leaves_no_checkpoint(
        self, store, source, monkeypatch
    ):
        def die(*args):
            raise StorageError("disk full")

        monkeypatch.setattr(store, "upload", die)
        with pytest.raises(StorageError):
            Checkpoints(store).save(REF, source, resource=1)
        assert store.list() == []

    def test_the_same_content_again_uploads_nothing(self, store, source):
        checkpoints = Checkpoints(store)
        checkpoints.save(REF, source, resource=1)
        assert len(store.uploads) == 3
        checkpoints.save("trials/000018/checkpoints/0000-1.json", source, resource=2)
        Checkpoints(store).save("trials/000019/checkpoints/0000-1.json", source, resource=3)
        assert len(store.uploads) == 3

    def test_equal_files_of_one_checkpoint_are_uploaded_once(self, store, tmp_path):
        folder = tmp_path / "twins"
        folder.mkdir()
        for name in "abc":
            (folder / name).write_bytes(b"same")
        Checkpoints(store).save(REF, folder, resource=1)
        assert len(store.uploads) == 1
        Checkpoints(store).restore(REF, tmp_path / "target")
        assert tree(tmp_path / "target") == tree(folder)

    def test_a_blob_of_wrong_size_is_stored_again(self, store, source, tmp_path):
        Checkpoints(store).save("old.json", source, resource=1)
        blob_file(tmp_path, b"momentum").write_bytes(b"mom")
        Checkpoints(store).save(REF, source, resource=1)
        assert Checkpoints(store).newest(["old.json"]) is not None

    def test_a_second_save_of_a_segment_returns_the_first(self, checkpoints, source):
        first = checkpoints.save(REF, source, resource=27)
        (source / "model.bin").write_bytes(b"other")
        assert checkpoints.save(REF, source, resource=27) == first
        assert checkpoints.load(REF) == first

    def test_a_file_that_changes_while_it_is_stored_leaves_no_blob_of_wrong_name(
        self, store, source
    ):
        class ChangesFirst(CountingStore):
            def upload(self, path, chunks, size):
                (source / "model.bin").write_bytes(b"trained on")
                super().upload(path, chunks, size)

        store = ChangesFirst(store.url)
        with pytest.raises(CheckpointCorruptError, match=r"model\.bin changed while"):
            Checkpoints(store).save(REF, source / "model.bin", resource=1)
        assert store.list() == []


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


class TestManifest:
    def test_equal_manifests_are_equal_bytes_and_come_back(self):
        manifest = Manifest(2.5, (FileEntry("a/ü.bin", 3, DIGEST),), ({"x": [1, None]},))
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest
        assert Manifest.from_bytes(sealed()) == Manifest(1, (FileEntry("a", 1, DIGEST),))

    def test_every_torn_or_flipped_byte_is_noticed(self):
        data = Manifest(2.5, (FileEntry("a/b", 3, DIGEST),), ({"loss": 0.25},)).to_bytes()
        for position in range(len(data)):
            flipped = bytearray(data)
            flipped[position] ^= 1
            for damaged in (bytes(flipped), data[:position]):
                with pytest.raises(CheckpointCorruptError):
                    Manifest.from_bytes(damaged)

    @pytest.mark.parametrize(
        "path",
        ["", "/etc/passwd", "../x", "a/../x", "a//x", "./x", "a/", "C:x", "c:/x", "a\\x", "a\0x"],
    )
    def test_refuses_hostile_paths_on_write_and_on_read(self, path):
        with pytest.raises(SpecError):
            Manifest(1, (FileEntry(path, 1, DIGEST),)).to_bytes()
        with pytest.raises(CheckpointCorruptError, match="hostile"):
            Manifest.from_bytes(sealed(files=[{"path": path, "size": 1, "hash": DIGEST}]))

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 2},
            {"resource": True},
            {"resource": "1"},
            {"resource": None},
            {"files": {}},
            {"files": [["a", 1, DIGEST]]},
            {"files": [{"path": "a", "size": 1}]},
            {"files": [{"path": "a", "size": 1, "hash": DIGEST, "mode": 7}]},
            {"files": [{"path": 1, "size": 1, "hash": DIGEST}]},
            {"files": [{"path": "a", "size": -1, "hash": DIGEST}]},
            {"files": [{"path": "a", "size": 1.0, "hash": DIGEST}]},
            {"files": [{"path": "a", "size": True, "hash": DIGEST}]},
            {"files": [{"path": "a", "size": 1, "hash": "../" + DIGEST}]},
            {"files": [{"path": "a", "size": 1, "hash": DIGEST.upper()}]},
            {"files": [{"path": "a", "size": 1, "hash": DIGEST}] * 2},
            {"files": [{"path": p, "size": 1, "hash": DIGEST} for p in ("a", "a/b")]},
            {"reports": {}},
            {"reports": ["x"]},
            {"extra": 1},
        ],
    )
    def test_refuses_anything_that_it_would_not_write(self, changes):
        with pytest.raises(CheckpointCorruptError, match="the manifest"):
            Manifest.from_bytes(sealed(**changes))

    @pytest.mark.parametrize(
        "data", [b"[]", b"\xff", b"null", b'{"a":1e999}', b'{"a":NaN}', b"[" * 100_000]
    )
    def test_refuses_other_json_and_what_is_no_json(self, data):
        with pytest.raises(CheckpointCorruptError):
            Manifest.from_bytes(data)
