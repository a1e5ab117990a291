"""What a save relies on is there when its manifest is, whatever a collector does beside it."""

from __future__ import annotations

import itertools
import time
import uuid
from dataclasses import dataclass, field

import pytest

from tuneflow import blobs
from tuneflow.blobs import REUSE
from tuneflow.checkpoints import Checkpoints, Manifest
from tuneflow.storage_clock import StorageClock
from tuneflow.store import Stat, Store

COLLECT = 2 * REUSE
SMALL, LARGE = 1000, 3 << 20
MINUTE = 60.0


@dataclass
class Clock:
    """The time of storage and workers, which passes when a test says so."""

    seconds: float = 1e9

    def __call__(self):
        return self.seconds

    def pass_by(self, seconds):
        self.seconds += seconds


class ClockedStore(Store):
    """A store that stamps objects by a clock, remembers its calls, and is disturbed before each."""

    def __init__(self, url, clock):
        super().__init__(url)
        self.clock = clock
        self.modified = {}
        self.calls = []
        self.disturb = lambda: None

    def _called(self, word, path):
        if self.disturb is not None:
            disturb, self.disturb = self.disturb, None
            disturb()
            self.disturb = disturb
        self.calls.append((word, path))

    def add(self, path, data):
        self._called("add", path)
        is_new = super().add(path, data)
        if is_new:
            self.modified[path] = self.clock()
        return is_new

    def put(self, path, data):
        self._called("put", path)
        super().put(path, data)
        self.modified[path] = self.clock()

    def create(self, path, data):
        self._called("create", path)
        super().create(path, data)
        self.modified[path] = self.clock()

    def upload(self, path, chunks, size):
        # S3 stamps an upload in parts with the time of its beginning.
        began = self.clock()
        self._called("upload", path)
        super().upload(path, chunks, size)
        self.modified[path] = began

    def delete(self, paths):
        super().delete(paths)
        for path in paths:
            self.modified.pop(path, None)

    def stat(self, path):
        self._called("stat", path)
        return self._clocked(path, super().stat(path))

    def stats(self, prefix=""):
        return {path: self._clocked(path, stat) for path, stat in super().stats(prefix).items()}

    def _clocked(self, path, stat):
        # A file that was moved into a folder was seen by none of the methods.
        return stat and Stat(stat.size, self.modified.setdefault(path, self.clock()))

    def words(self, prefix="blobs/"):
        """Return what was done to blobs since the last time, without repeating the keys."""
        words = [word for word, path in self.calls if path.startswith(prefix)]
        self.calls.clear()
        return words


@dataclass
class Collector:
    """A collector as it is allowed to be: it removes old blobs that no manifest refers to."""

    store: ClockedStore
    seen: dict = field(default_factory=dict)

    def look(self):
        now = self.store.clock()
        stats = self.store.stats("blobs")
        self.seen = {path: now - stat.modified for path, stat in stats.items()}

    def remove(self):
        needed = set().union(*(manifest.blobs() for manifest in manifests(self.store)))
        old = [path for path, age in self.seen.items() if age > COLLECT and path not in needed]
        self.store.delete(old)

    def run(self):
        self.look()
        self.remove()


def manifests(store):
    return [Manifest.from_bytes(store.get(key)) for key in store.list("trials")]


def assert_complete(store):
    for manifest in manifests(store):
        assert manifest.blobs() <= set(store.list("blobs"))


def run_of(store, elapsed, wall=lambda: 1e9):
    """Return what one run of a segment saves with; all that it writes is of one window."""
    return Checkpoints(store, elapsed, wall)


def contents(keys):
    """Return the hashes that the keys of blobs have in them."""
    return {key.partition("-")[0] for key in keys}


def ref(trial):
    return f"trials/{trial:06d}/checkpoints/0000-1.json"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "file"])
def store(request, clock, tmp_path):
    if request.param == "file":
        return ClockedStore(f"{tmp_path}/store", clock)
    return ClockedStore(f"memory://{uuid.uuid4().hex}/inner", clock)


@pytest.fixture
def distant(clock):
    return ClockedStore(f"memory://{uuid.uuid4().hex}/inner", clock)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "small").write_bytes(b"s" * SMALL)
    (folder / "large").write_bytes(b"l" * LARGE)
    return folder


@pytest.fixture
def run(store, clock):
    """Return what begins a run of a segment."""
    return lambda: run_of(store, clock)


@pytest.fixture
def orphans(store, clock, source):
    """The source's blobs, to which no manifest refers any longer."""
    run_of(store, clock).save(ref(9), source, resource=1)
    store.delete([ref(9)])
    keys = list(store.stats("blobs"))
    store.calls.clear()
    return keys


class TestWhatIsReliedOn:
    def test_what_the_run_saved_last_takes_no_request_however_old_it_is(
        self, run, clock, source, store
    ):
        checkpoints = run()
        first = checkpoints.save(ref(1), source, resource=1)
        clock.pass_by(100 * COLLECT)
        store.calls.clear()
        second = checkpoints.save(ref(2), source, resource=2)
        assert second.files == first.files
        assert store.calls == [("create", ref(2))]

    def test_what_the_run_was_restored_from_takes_none_either(
        self, run, clock, source, store, tmp_path
    ):
        first = run().save(ref(1), source, resource=1)
        clock.pass_by(100 * COLLECT)
        checkpoints = run()
        checkpoints.restore(ref(1), tmp_path / "target")
        store.calls.clear()
        assert checkpoints.save(ref(2), source, resource=2).files == first.files
        assert store.calls == [("create", ref(2))]

    def test_what_the_run_was_restored_from_is_not_relied_on_after_its_first_save(
        self, run, clock, source, store, tmp_path
    ):
        run().save(ref(1), source, resource=1)
        checkpoints = run()
        checkpoints.restore(ref(1), tmp_path / "target")
        (source / "large").write_bytes(b"m" * LARGE)
        checkpoints.save(ref(2), source, resource=2)
        store.delete([ref(1)])
        clock.pass_by(COLLECT + 1)
        Collector(store).run()
        (source / "large").write_bytes(b"l" * LARGE)
        checkpoints.save(ref(3), source, resource=3)
        assert_complete(store)

    def test_what_the_run_saved_before_its_last_is_not_relied_on(self, run, clock, source, store):
        checkpoints = run()
        checkpoints.save(ref(1), source, resource=1)
        (source / "large").write_bytes(b"m" * LARGE)
        checkpoints.save(ref(2), source, resource=2)
        store.delete([ref(1)])
        clock.pass_by(COLLECT + 1)
        Collector(store).run()
        (source / "large").write_bytes(b"l" * LARGE)
        checkpoints.save(ref(3), source, resource=3)
        assert_complete(store)

    @pytest.mark.parametrize("age", [0, REUSE - MINUTE])
    def test_a_young_blob_is_found_by_asking(self, run, source, store, orphans, age):
        store.clock.pass_by(age)
        manifest = run().save(ref(1), source, resource=1)
        assert manifest.blobs() == set(orphans) == set(store.list("blobs"))

    @pytest.mark.parametrize("age", [REUSE, COLLECT + 1])
    def test_an_old_blob_is_left_alone_and_stored_under_another_key(
        self, run, source, store, orphans, age
    ):
        before = dict(store.modified)
        store.clock.pass_by(age)
        manifest = run().save(ref(1), source, resource=1)
        assert not manifest.blobs() & set(orphans)
        assert contents(manifest.blobs()) == contents(orphans)
        assert all(store.modified[key] == before[key] for key in orphans)
        Collector(store).run()
        assert_complete(store)

    def test_another_key_is_relied_on_like_the_first(self, run, clock, source, store, orphans):
        clock.pass_by(COLLECT)
        checkpoints = run()
        first = checkpoints.save(ref(1), source, resource=1)
        store.calls.clear()
        assert checkpoints.save(ref(2), source, resource=2).files == first.files
        assert store.calls == [("create", ref(2))]

    def test_a_young_blob_of_wrong_size_is_not_relied_on(
        self, run, source, store, orphans, tmp_path
    ):
        for key in orphans:
            store.put(key, b"torn")
        run().save(ref(1), source, resource=1)
        run().restore(ref(1), tmp_path / "target")
        assert (tmp_path / "target" / "small").read_bytes() == b"s" * SMALL

    def test_ages_are_told_by_the_storages_clock(self, store, source, orphans):
        # This worker's clock began when it was switched on, and is behind by a billion seconds.
        started = store.clock()
        store.clock.pass_by(COLLECT)
        own_clock = run_of(store, lambda: store.clock() - started)
        manifest = own_clock.save(ref(1), source, resource=1)
        assert not manifest.blobs() & set(orphans)
        assert [key for key in store.list() if key.startswith("probe")] == []


class TestRequests:
    def test_a_small_part_is_sent_at_once_and_a_large_one_after_a_question(
        self, distant, clock, source
    ):
        run_of(distant, clock).save(ref(1), source, resource=1)
        assert sorted(distant.words()) == ["add", "stat", "upload"]

    def test_what_is_there_and_young_costs_a_question_each(self, distant, clock, source):
        run_of(distant, clock).save(ref(1), source, resource=1)
        distant.calls.clear()
        run_of(distant, clock).save(ref(2), source, resource=1)
        assert sorted(distant.words()) == ["add", "stat", "stat"]

    def test_a_changed_file_is_all_that_is_sent(self, distant, clock, source):
        checkpoints = run_of(distant, clock)
        checkpoints.save(ref(1), source, resource=1)
        (source / "small").write_bytes(b"trained on")
        distant.calls.clear()
        checkpoints.save(ref(2), source, resource=2)
        assert [word for word, _ in distant.calls] == ["add", "create"]


class TestWindows:
    def test_the_same_bytes_have_another_key_later(self, store, clock, source):
        first = run_of(store, clock, clock).save(ref(1), source, resource=1)
        clock.pass_by(REUSE)
        second = run_of(store, clock, clock).save(ref(2), source, resource=1)
        assert not first.blobs() & second.blobs()
        assert contents(first.blobs()) == contents(second.blobs())

    def test_a_collector_that_looked_long_ago_removes_nothing_that_was_stored_since(
        self, store, clock, source
    ):
        run_of(store, clock, clock).save(ref(9), source, resource=1)
        store.stats()
        store.delete([ref(9)])
        clock.pass_by(COLLECT + 1)
        slow = Collector(store)
        slow.look()
        old = [path for path in slow.seen if slow.seen[path] > COLLECT]
        # Another one is faster, and then a trial saves the same bytes again.
        Collector(store).run()
        run_of(store, clock, clock).save(ref(1), source, resource=1)
        store.delete(old)
        assert len(old) == 2
        assert_complete(store)


class TestLongSaves:
    def test_what_vanished_meanwhile_is_stored_again_before_the_manifest(
        self, distant, clock, source, monkeypatch
    ):
        removed = []

        def collect_late():
            # The large file is stored first, and the small one follows after an hour.
            if not removed and distant.list("blobs"):
                clock.pass_by(COLLECT + 1)
                removed.extend(distant.list("blobs"))
                Collector(distant).run()

        monkeypatch.setattr(blobs, "AT_ONCE", 1)
        distant.disturb = collect_late
        manifest = run_of(distant, clock).save(ref(1), source, resource=1)
        (large,) = removed
        words = [word for word, _ in distant.calls]
        assert words[-6:] == ["stat", "stat", "upload", "create", "stat", "stat"]
        assert large not in manifest.blobs()
        assert_complete(distant)

    def test_what_vanished_before_the_manifest_was_there_is_stored_after_it(
        self, distant, clock, source, tmp_path
    ):
        def collect_late():
            if len(distant.calls) == 3:
                clock.pass_by(COLLECT + 1)
                Collector(distant).run()

        distant.disturb = collect_late
        manifest = run_of(distant, clock).save(ref(1), source, resource=1)
        words = [word for word, _ in distant.calls]
        assert words[3] == "create"
        assert sorted(words[4:]) == ["stat", "stat", "stat", "stat", "upload", "upload"]
        assert manifest.blobs() == set(distant.list("blobs"))
        Checkpoints(distant).restore(ref(1), tmp_path / "target")

    def test_a_short_save_asks_once_only(self, distant, clock, source):
        distant.disturb = lambda: clock.pass_by(MINUTE)
        run_of(distant, clock).save(ref(1), source, resource=1)
        assert sorted(distant.words()) == ["add", "stat", "upload"]


SITUATIONS = (
    "nothing is there",
    "another trial has it",
    "orphans",
    "old orphans",
    "own and changed",
)


def prepare(situation, store, clock, source):
    """Return the run that is going to save, with what it has done so far."""
    checkpoints = run_of(store, clock)
    if situation == "own and changed":
        checkpoints.save(ref(8), source, resource=1)
        (source / "large").write_bytes(b"m" * LARGE)
    elif situation != "nothing is there":
        run_of(store, clock).save(ref(8), source, resource=1)
        store.stats()
        if situation != "another trial has it":
            store.delete([ref(8)])
        clock.pass_by(COLLECT + 1 if situation == "old orphans" else REUSE - MINUTE)
    store.calls.clear()
    return checkpoints


class TestACollectorBesideASave:
    """A collector runs before each call of a save, and time jumps there."""

    @pytest.fixture(autouse=True)
    def _one_call_at_a_time(self, monkeypatch):
        monkeypatch.setattr(blobs, "AT_ONCE", 1)

    @pytest.mark.parametrize("situation", SITUATIONS)
    @pytest.mark.parametrize("jump", [0, REUSE - MINUTE, REUSE + MINUTE, COLLECT + MINUTE])
    def test_never_leaves_a_manifest_without_its_blobs(self, store, clock, source, situation, jump):
        for point in range(100):
            for key in store.list():
                store.delete([key])
            (source / "large").write_bytes(b"l" * LARGE)
            checkpoints = prepare(situation, store, clock, source)

            def disturb(point=point):
                if len(store.calls) == point:
                    clock.pass_by(jump)
                Collector(store).run()

            store.disturb = disturb
            checkpoints.save(ref(1), source, resource=1)
            store.disturb = lambda: None
            # A moment later, and after as long as it takes for anything to be old.
            for seconds in (0, COLLECT + MINUTE):
                clock.pass_by(seconds)
                Collector(store).run()
                assert_complete(store)
            if point > len(store.calls):
                return
        raise AssertionError("a save of two files takes less than a hundred calls")

    @pytest.mark.parametrize("situation", SITUATIONS)
    @pytest.mark.parametrize("gap", [0, REUSE - MINUTE])
    def test_may_look_at_one_point_and_remove_at_another(
        self, distant, clock, source, situation, gap
    ):
        for look, remove in itertools.combinations_with_replacement(range(8), 2):
            for key in distant.list():
                distant.delete([key])
            (source / "large").write_bytes(b"l" * LARGE)
            checkpoints = prepare(situation, distant, clock, source)
            collector = Collector(distant)

            def disturb(look=look, remove=remove, collector=collector):
                if len(distant.calls) == look:
                    collector.look()
                    clock.pass_by(gap)
                if len(distant.calls) == remove:
                    collector.remove()

            distant.disturb = disturb
            checkpoints.save(ref(1), source, resource=1)
            distant.disturb = lambda: None
            assert len(distant.calls) <= 8
            assert_complete(distant)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="only Linux has this clock")
def test_a_machine_that_sleeps_grows_older_like_others(tmp_path, monkeypatch):
    slept, usual = 0.0, time.clock_gettime

    def clock(which):
        return usual(which) + (slept if which == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", clock)
    storage = StorageClock(Store(f"file://{tmp_path}"))
    before = storage.now()
    slept = 3 * COLLECT
    assert storage.now() - before >= 3 * COLLECT
