"""The contract of a store over every kind that runs here, and what only a network can do to it."""

from __future__ import annotations

import pickle
import re
import threading
import uuid

import pytest

from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import CheckpointCorruptError, SpecError, StorageError
from tuneflow.store import AlreadyExists, NotFound, Store, read_chunks

pytestmark = pytest.mark.integration

SIZES_AROUND_ONE_PART = [0, 1, (5 << 20) - 1, 5 << 20, (5 << 20) + 1, (11 << 20) + 3]


@pytest.fixture(params=["file", "memory", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return Store(request.getfixturevalue("s3_url"))
    if request.param == "memory":
        return Store(f"memory://{uuid.uuid4().hex}/inner")
    return Store(f"file://{tmp_path}/root")


def patterned(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class TestEveryStore:
    def test_returns_what_was_created(self, store):
        store.create("journal/1.jsonl", b"\x00first\xff")
        assert store.get("journal/1.jsonl") == b"\x00first\xff"

    def test_refuses_a_second_create_and_keeps_the_first(self, store):
        store.create("key", b"first")
        with pytest.raises(AlreadyExists, match="key exists already"):
            store.create("key", b"second")
        assert store.get("key") == b"first"

    def test_takes_a_second_create_of_equal_bytes_for_the_same_one(self, store):
        store.create("key", b"same")
        store.create("key", b"same")
        assert store.list() == ["key"]

    def test_lets_one_of_racing_threads_win_each_key(self, store):
        wins = []
        start = threading.Barrier(4)

        def race(me):
            start.wait()
            for number in range(20):
                try:
                    store.create(f"race/{number}", f"{me}".encode())
                except AlreadyExists:
                    continue
                wins.append((number, me))

        threads = [threading.Thread(target=race, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(number for number, _ in wins) == list(range(20))
        assert all(store.get(f"race/{number}") == f"{me}".encode() for number, me in wins)

    def test_put_replaces(self, store):
        store.put("cache", b"old")
        store.put("cache", b"new")
        assert store.get("cache") == b"new"

    @pytest.mark.parametrize("size", SIZES_AROUND_ONE_PART)
    def test_uploads_and_downloads_files_around_the_size_of_a_part(self, store, tmp_path, size):
        source, target = tmp_path / "source", tmp_path / "new" / "target"
        source.write_bytes(patterned(size))
        store.upload("blobs/x", read_chunks(source), source.stat().st_size)
        assert store.size("blobs/x") == size
        store.download("blobs/x", target)
        assert target.read_bytes() == source.read_bytes()
        assert [path.name for path in target.parent.iterdir()] == ["target"]

    @pytest.mark.parametrize("size", [10, 12 << 20])
    def test_an_upload_whose_source_fails_leaves_nothing(self, store, size):
        def torn():
            yield bytes(size)
            raise CheckpointCorruptError("changed")

        with pytest.raises(CheckpointCorruptError, match="changed"):
            store.upload("blobs/x", torn(), size)
        assert store.list() == []

    def test_says_that_an_object_is_missing(self, store, tmp_path):
        store.put("there", b"1")
        for key in ("nowhere", "no/where"):
            assert not store.exists(key)
            with pytest.raises(NotFound, match=f"{key} does not exist"):
                store.get(key)
            with pytest.raises(NotFound):
                store.download(key, tmp_path / "target")
        assert not (tmp_path / "target").exists()

    def test_reads_nothing_from_a_place_that_was_never_written_to(self, store):
        assert store.list() == []
        assert store.get_many(["a", "b"]) == [None, None]
        assert not store.exists("a")
        store.delete(["a"])

    def test_gets_many_in_the_order_asked_for_with_none_for_the_missing(self, store):
        for number in range(40):
            store.put(f"k/{number}", f"{number}".encode())
        keys = [f"k/{number}" for number in reversed(range(50))]
        expected = [None] * 10 + [f"{number}".encode() for number in reversed(range(40))]
        assert store.get_many(keys) == expected
        assert store.get_many([]) == []

    def test_lists_a_folder_sorted_and_after_a_key(self, store):
        for key in ("j/10", "j/9", "j/2", "j/deep/er", "journal/1", "k"):
            store.put(key, b"")
        assert store.list("j/") == store.list("j") == ["j/10", "j/2", "j/9", "j/deep/er"]
        assert store.list("j/", after="j/2") == ["j/9", "j/deep/er"]
        assert store.list("j/", after="j/15") == ["j/2", "j/9", "j/deep/er"]
        assert store.list("j/", after="j/z") == []
        assert store.list("nothing") == []
        assert store.list() == ["j/10", "j/2", "j/9", "j/deep/er", "journal/1", "k"]

    def test_lists_more_than_one_page(self, store):
        keys = [f"many/{number:04d}" for number in range(1005)]
        for key in keys:
            store.put(key, b"")
        assert store.list("many") == keys
        assert store.list("many", after=keys[1000]) == keys[1001:]

    def test_deletes_what_is_there_and_ignores_what_is_not(self, store):
        for key in ("a", "b", "c"):
            store.put(key, b"")
        store.delete(["missing", "a", "also/missing", "c"])
        store.delete([])
        assert store.list() == ["b"]

    @pytest.mark.parametrize("key", ["a b/ü%20~/x=1", "weird'\"<>|*?:&+,;@$/x", "a#b/c#1d"])
    def test_keeps_unusual_names(self, store, key):
        store.create(key, b"1")
        assert store.get(key) == b"1"
        assert store.list() == [key]
        assert store.list(key.split("/", maxsplit=1)[0]) == [key]

    @pytest.mark.parametrize(
        "key",
        [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "a/.",
            "a\\b",
            "a\nb",
            "a\0",
            "a#1",
            "a#1/b",
        ],
    )
    def test_refuses_hostile_keys(self, store, key):
        for use in (
            store.get,
            store.exists,
            lambda k: store.create(k, b""),
            lambda k: store.put(k, b""),
            lambda k: store.delete([k]),
        ):
            with pytest.raises(SpecError, match="cannot be stored under"):
                use(key)
        assert store.list() == []

    def test_a_child_sees_only_what_is_below_it(self, store):
        child = store.child("my study")
        child.create("journal/1", b"x")
        store.create("other", b"y")
        assert child.list() == ["journal/1"]
        assert store.list() == ["my study/journal/1", "other"]
        assert Store(child.url) == child
        assert Store(child.url).get("journal/1") == b"x"

    def test_a_pickled_copy_reads_the_same_objects(self, store):
        store.put("a", b"1")
        assert pickle.loads(pickle.dumps(store)).get("a") == b"1"

    def test_probe_accepts_and_leaves_nothing(self, store):
        store.probe()
        assert store.list() == []

    def test_keeps_checkpoints(self, store, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "weights").write_bytes(patterned(6 << 20))
        (tmp_path / "model" / "state.json").write_text("{}")
        checkpoints = Checkpoints(store)
        manifest = checkpoints.save("trials/0/checkpoints/1.json", tmp_path / "model", resource=1)
        assert checkpoints.newest(["trials/0/checkpoints/1.json"]) is not None
        assert checkpoints.restore("trials/0/checkpoints/1.json", tmp_path / "back") == manifest
        assert (tmp_path / "back" / "weights").read_bytes() == patterned(6 << 20)


@pytest.mark.elsewhere
class TestTheStorageThatWasChosen(TestEveryStore):
    """The same, where ``pytest --storage`` says: at Azure's emulator, or in Ceph."""

    @pytest.fixture
    def store(self, storage):
        return Store(storage)


@pytest.mark.usefixtures("impatient")
class TestFaultyNetwork:
    def test_a_create_whose_answer_was_lost_counts_as_stored(self, meddling, s3_url):
        meddling.go_wrong(reset="after", where="^PUT")
        store = Store(s3_url)
        store.create("journal/1", b"mine")
        assert len(meddling.met) == 1
        assert store.get("journal/1") == b"mine"

    def test_a_create_that_lost_its_answer_and_the_race_is_told_so(self, meddling, s3_url):
        store = Store(s3_url)
        store.create("journal/1", b"theirs")
        meddling.go_wrong(reset="after", where="^PUT")
        with pytest.raises(AlreadyExists):
            store.create("journal/1", b"mine")

    def test_asks_the_server_for_later_keys_only(self, meddling, s3_url):
        Store(s3_url).list("j", after="j/2")
        _, path, _ = meddling.seen[0]
        assert re.search(r"start-after=[^&]*j(/|%2F)2", path)

    def test_lists_after_a_key_on_a_server_that_ignores_the_offset(self, meddling, s3_url):
        meddling.strip_offset = True
        store = Store(s3_url)
        for key in ("j/1", "j/2", "j/3"):
            store.put(key, b"")
        assert store.list("j", after="j/2") == ["j/3"]

    def test_a_commit_costs_one_request(self, meddling, s3_url):
        Store(s3_url).create("journal/1", b"mine")
        assert [seen[0] for seen in meddling.seen] == ["PUT"]

    def test_probe_refuses_a_server_that_ignores_the_condition(self, meddling, s3_url):
        meddling.strip_condition = True
        with pytest.raises(StorageError, match="unsafe for commits: it ignores create-only"):
            Store(s3_url).probe()
        assert Store(s3_url).list() == []

    def test_probe_refuses_a_server_that_does_not_know_the_condition(self, meddling, s3_url):
        meddling.puts_answered_by = (501, "<Error><Code>NotImplemented</Code></Error>")
        with pytest.raises(StorageError, match="unsafe for commits: it does not support"):
            Store(s3_url).probe()

    def test_refused_credentials_are_named_without_repeating_them(self, meddling, s3_url):
        body = (
            "<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>dummy-access-key"
            "</AWSAccessKeyId><StringToSign>dummy-secret-key</StringToSign></Error>"
        )
        meddling.puts_answered_by = (403, body)
        with pytest.raises(StorageError, match="is not writable: the credentials") as caught:
            Store(s3_url).probe()
        assert "403 InvalidAccessKeyId" in str(caught.value)
        assert "dummy" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_a_missing_bucket_is_no_missing_object(self, s3_env):
        store = Store("s3://no-such-bucket/study")
        with pytest.raises(StorageError, match="is not writable: the bucket does not exist"):
            store.probe()
        with pytest.raises(StorageError, match="the bucket does not exist"):
            store.get("study.json")

    def test_an_unreachable_server_is_said_to_be(self, s3_url, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("TUNEFLOW_STORAGE_PATIENCE", "1")
        with pytest.raises(StorageError, match="the storage cannot be reached"):
            Store(s3_url).probe()

    def test_plain_http_must_be_allowed(self, s3_url, monkeypatch):
        monkeypatch.delenv("AWS_ALLOW_HTTP")
        with pytest.raises(StorageError, match="set AWS_ALLOW_HTTP=true"):
            Store(s3_url).probe()

    def test_credentials_come_from_the_named_profile(self, meddling, s3_url, tmp_path, monkeypatch):
        file = tmp_path / "credentials"
        file.write_text("[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = labsecret\n")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        monkeypatch.setenv("AWS_PROFILE", "lab")
        Store(s3_url).put("a", b"1")
        _, _, headers = meddling.seen[0]
        assert "Credential=LABKEY/" in headers["authorization"]

    def test_an_unchanged_file_is_sent_once(self, meddling, s3_url, tmp_path):
        (tmp_path / "weights").write_bytes(b"frozen")
        checkpoints = Checkpoints(Store(s3_url))
        checkpoints.save("a.json", tmp_path / "weights", resource=1)
        before = meddling.count("PUT")
        checkpoints.save("b.json", tmp_path / "weights", resource=2)
        assert meddling.count("PUT") - before == 1
