"""What a store promises beyond the contract that test_store_s3.py runs over every kind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import stat
import time
from pathlib import Path

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError

from tuneflow import large_objects, local_files, patience
from tuneflow.errors import SpecError, StorageError
from tuneflow.store import AlreadyExists, NotFound, Store, read_chunks
from tuneflow.store_errors import explain

RACERS, KEYS = 8, 60


@pytest.fixture
def store(tmp_path):
    return Store(f"file://{tmp_path}/root")


@pytest.fixture
def quick(monkeypatch):
    """Storages are asked again soon."""
    monkeypatch.setattr(patience, "LONGEST", 0.01)
    monkeypatch.setattr(patience, "SHORTEST", 0.01)


class TestUrls:
    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("file:///data/study", "file:///data/study"),
            ("file:///data/study/", "file:///data/study"),
            ("file://localhost/data", "file:///data"),
            ("file:///data/../other", "file:///other"),
            ("/data/a b#1", "file:///data/a%20b%231"),
            ("memory://lab", "memory://lab"),
            ("memory://lab/x/", "memory://lab/x"),
            ("memory://", "memory://default"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a b/c/", "s3://bucket/a%20b/c"),
            ("s3://bucket/a%20b", "s3://bucket/a%20b"),
            ("gs://bucket/p", "gs://bucket/p"),
            ("az://container/p", "az://container/p"),
        ],
    )
    def test_has_one_spelling(self, given, kept):
        assert Store(given).url == kept
        assert Store(kept).url == kept

    def test_makes_a_plain_path_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert Store("./results").url == f"file://{tmp_path}/results"
        assert Store("results") == Store(Path("results"))

    def test_expands_the_home_folder(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        assert Store("~/results").url == "file:///home/me/results"

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("", "write for example ./results"),
            ("a\0b", "is not a URL or path"),
            ("s4://bucket", "use one of file://, memory://, s3://, gs://, az://"),
            ("http://host/x", "'http:' is no kind of storage"),
            ("s3:/bucket", "write 's3://'"),
            ("s3://", "write s3://BUCKET/NAME"),
            ("s3://bucket/a/../b", "cannot be stored under"),
            ("s3://bucket//b", "cannot be stored under"),
            ("s3://bucket/b#1", "write it as %23"),
            ("file://host/share", "three slashes"),
            ("file:///", "root of the file system"),
            ("/", "root of the file system"),
        ],
    )
    def test_refuses_what_names_no_place(self, url, message):
        with pytest.raises(SpecError, match=message) as caught:
            Store(url)
        assert caught.value.field == "storage"

    @pytest.mark.parametrize("url", ["s3://KEY:hunter2@bucket", "az://c/p?sig=hunter2"])
    def test_refuses_credentials_in_the_url_without_repeating_them(self, url):
        with pytest.raises(SpecError, match="into the environment") as caught:
            Store(url)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../b", "a\nb", "a\\b", "study#7"])
    def test_refuses_a_child_that_is_not_one_level_below(self, name):
        with pytest.raises(SpecError) as caught:
            Store("memory://x").child(name)
        assert caught.value.field == "name"

    def test_pickles_its_url_alone(self, store):
        store.put("a", b"1")
        store.get("a")
        data = pickle.dumps(store)
        assert b"obstore" not in data
        assert len(data) < 200
        assert pickle.loads(data) == store

    def test_shares_memory_by_name(self):
        Store("memory://shared/one").put("a", b"1")
        assert Store("memory://shared").get("one/a") == b"1"
        assert Store("memory://other").list() == []


class TestFolder:
    def test_opening_and_reading_make_no_folder(self, store, tmp_path):
        store.list()
        store.exists("a")
        assert list(tmp_path.iterdir()) == []

    def test_keeps_each_object_as_a_plain_file(self, store, tmp_path):
        store.create("trials/000001/segments/0000.json", b"{}")
        assert (tmp_path / "root/trials/000001/segments/0000.json").read_bytes() == b"{}"

    def test_syncs_a_file_before_it_gets_its_name_and_the_folders_after(
        self, store, tmp_path, monkeypatch
    ):
        synced = []

        def record(handle):
            is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
            path = Path(f"/proc/self/fd/{handle}").readlink()
            synced.append((path if is_folder else "file", (tmp_path / "root/j/1").exists()))

        monkeypatch.setattr(local_files.os, "fsync", record)
        store.create("j/1", b"x")
        assert synced == [
            (tmp_path / "root", False),
            (tmp_path, False),
            ("file", False),
            (tmp_path / "root/j", True),
        ]

    def test_a_failed_sync_stores_nothing(self, store, monkeypatch):
        def fail(handle):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(local_files.os, "fsync", fail)
        with pytest.raises(StorageError, match="input/output error"):
            store.create("a", b"x")
        monkeypatch.undo()
        assert store.list() == []

    def test_one_of_racing_processes_wins_each_key_and_no_object_is_torn(self, store, tmp_path):
        context = multiprocessing.get_context("spawn")
        # All wait for each other before each key, so that they do race.
        with context.Pool(RACERS, _share, [context.Barrier(RACERS)]) as pool:
            wins = pool.starmap(_race, [(store, me) for me in range(RACERS)])
        winners = {key: me for me, keys in enumerate(wins) for key in keys}
        assert sum(map(len, wins)) == len(winners) == KEYS
        assert all(store.get(key) == _bytes_of(me) for key, me in winners.items())
        assert not [path for path in (tmp_path / "root").rglob("*") if "#" in path.name]

    def test_hides_and_keeps_young_staging_files_and_sweeps_old_ones(self, store, tmp_path):
        store.put("j/1", b"x")
        folder = tmp_path / "root" / "j"
        old, young = folder / f"2#{7:019d}", folder / f"3#{8:019d}"
        for path in (old, young, folder / "mine#4"):
            path.write_bytes(b"partial")
        for path in (old, folder / "mine#4"):
            os.utime(path, (time.time() - 90_000,) * 2)
        assert store.list() == ["j/1"]
        store.probe()
        assert {path.name for path in folder.iterdir()} == {"1", young.name, "mine#4"}

    def test_probe_says_that_a_place_is_not_writable(self, tmp_path):
        (tmp_path / "file").write_text("")
        for place in (f"{tmp_path}/file/below", "/proc/tuneflow"):
            with pytest.raises(StorageError, match=rf"^file://{place} is not writable: \w+"):
                Store(place).probe()

    def test_every_write_to_a_place_that_is_not_writable_is_a_storage_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        store = Store(f"{tmp_path}/file/below")
        with pytest.raises(StorageError, match=r"cannot create file:///.*/a: not a directory"):
            store.create("a", b"")
        with pytest.raises(StorageError, match="cannot write"):
            store.put("a", b"")
        with pytest.raises(StorageError, match="cannot upload"):
            store.upload("a", [b""], 0)
        with pytest.raises(NotFound):
            store.get("a")

    def test_a_missing_source_is_a_storage_error(self, store, tmp_path):
        with pytest.raises(StorageError, match=r"cannot upload .*: no such file"):
            store.upload("a", read_chunks(tmp_path / "missing"), 0)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("doing", ["create", "put", "upload"])
    def test_a_full_disk_is_told_and_leaves_nothing(self, store, monkeypatch, doing, number):
        def write(staging, chunks, **options):
            staging.parent.mkdir(exist_ok=True)
            staging.write_bytes(b"half of")
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(local_files, "_write", write)
        more = ([b"1"], 1) if doing == "upload" else (b"1",)
        with pytest.raises(StorageError, match=r"the disk is full; free some space and resume"):
            getattr(store, doing)("a", *more)
        assert list(Path(store.url.removeprefix("file://")).iterdir()) == []

    def test_a_full_disk_of_who_downloads_is_named(self, store, tmp_path, monkeypatch):
        def full(handle, data, start):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        store.put("a", b"1")
        monkeypatch.setattr(large_objects.os, "pwrite", full)
        with pytest.raises(StorageError, match=rf"cannot write to {tmp_path}/there: the disk is"):
            store.download("a", tmp_path / "there" / "a")
        assert list((tmp_path / "there").iterdir()) == []

    def test_a_disk_that_writes_a_part_at_a_time_loses_nothing(self, store, tmp_path, monkeypatch):
        write = os.pwrite
        monkeypatch.setattr(large_objects.os, "pwrite", lambda h, d, s: write(h, d[:7], s))
        store.put("a", bytes(range(250)))
        store.download("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == bytes(range(250))

    @pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN])
    def test_a_network_file_system_that_is_away_is_waited_for(
        self, store, monkeypatch, quick, number
    ):
        write, left = local_files._write, [1, 2, 3]

        def away(staging, chunks, **options):
            if left:
                left.pop()
                raise OSError(number, os.strerror(number))
            write(staging, chunks, **options)

        monkeypatch.setattr(local_files, "_write", away)
        store.create("a", b"mine")
        assert store.get("a") == b"mine"
        left += [1, 2]
        store.upload("b", read_chunks(Path(store.url.removeprefix("file://"), "a")), 4)
        assert store.get("b") == b"mine"

    def test_a_broken_disk_is_not_waited_for(self, store, monkeypatch):
        tries = []

        def broken(staging, chunks, **options):
            tries.append(staging)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(local_files, "_write", broken)
        with pytest.raises(StorageError, match="input/output error"):
            store.create("a", b"x")
        assert len(tries) == 1

    @pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
    def test_a_file_system_without_hard_links_is_refused(self, store, monkeypatch, number):
        def refuse(self, target):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        with pytest.raises(StorageError, match="the file system has no hard links"):
            store.probe()

    def test_own_bytes_that_are_found_are_forced_to_the_disk(self, store, monkeypatch):
        store.create("a", b"mine")
        synced = []
        monkeypatch.setattr(local_files.os, "fsync", synced.append)
        store.create("a", b"mine")
        # The staging file, the one that was found, and its folder.
        assert len(synced) == 3

    def test_a_folder_in_the_way_is_an_error_and_not_an_object(self, store):
        store.put("a/b", b"")
        with pytest.raises(StorageError, match="both that it exists and that it does not"):
            store.create("a", b"")


class LosesAnswers(Store):
    """A store whose first `lost` creates reach it, and whose answers do not come back."""

    lost = 1
    complaint: Exception = AlreadyExistsError("as after obstore's own retry")

    def _put_new(self, path, data):
        super()._put_new(path, data)
        if self.lost:
            self.lost -= 1
            raise self.complaint


class TestLostAnswers:
    @pytest.mark.parametrize("complaint", [AlreadyExistsError("x"), GenericError("timed out")])
    def test_own_bytes_read_back_mean_success(self, complaint):
        store = LosesAnswers(f"memory://lost-{type(complaint).__name__}")
        store.complaint = complaint
        store.create("a", b"mine")
        assert store.get("a") == b"mine"

    def test_other_bytes_read_back_mean_a_lost_race(self):
        class Beaten(Store):
            def _put_new(self, path, data):
                Store(self.url).put(path, b"theirs")
                raise GenericError("timed out")

        with pytest.raises(AlreadyExists):
            Beaten("memory://beaten").create("a", b"mine")

    def test_an_object_that_vanished_in_between_is_created_again(self):
        class Vanishes(LosesAnswers):
            def _put_new(self, path, data):
                try:
                    super()._put_new(path, data)
                except AlreadyExistsError:
                    self.delete([path])
                    raise

        store = Vanishes("memory://vanishes")
        store.create("a", b"mine")
        assert store.get("a") == b"mine"

    def test_a_request_that_never_arrived_is_a_storage_error(self, monkeypatch):
        monkeypatch.setenv("TUNEFLOW_STORAGE_PATIENCE", "0")

        class Silent(Store):
            def _put_new(self, path, data):
                raise GenericError("Generic S3 error: x - HTTP error: error sending request")

        with pytest.raises(StorageError, match=r"cannot create .*: the storage cannot be reached"):
            Silent("memory://silent").create("a", b"mine")

    def test_probe_refuses_a_store_that_ignores_the_condition(self):
        class Careless(Store):
            def _put_new(self, path, data):
                self.put(path, data)

        store = Careless("memory://careless")
        with pytest.raises(StorageError, match=r"memory://careless is unsafe for commits"):
            store.probe()
        assert store.list() == []


class TestErrors:
    def test_survive_pickling(self):
        for error in (AlreadyExists("a"), NotFound("b"), StorageError("c")):
            copy = pickle.loads(pickle.dumps(error))
            assert (type(copy), str(copy)) == (type(error), str(error))

    def test_repeat_no_secret_of_the_environment_and_no_query(self, monkeypatch):
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "hunter2hunter2")
        error = GenericError("Generic error: x - odd hunter2hunter2 http://h/p?sig=abc end\n\nmore")
        assert explain(error) == "odd *** http://h/p end"

    def test_say_that_there_are_no_credentials(self):
        error = GenericError("Error performing PUT http://169.254.169.254/latest in 1ms - x")
        assert "set AWS_ACCESS_KEY_ID" in explain(error)


def _bytes_of(me):
    return f"{me}".encode() * 5_000


def _share(barrier):
    _race.barrier = barrier


def _race(store, me):
    won = []
    for number in range(KEYS):
        _race.barrier.wait(60)
        try:
            store.create(f"journal/{number}", _bytes_of(me))
        except AlreadyExists:
            continue
        won.append(f"journal/{number}")
    return won
