"""The journal: commits that are whole or refused, and snapshots that may vanish."""

from __future__ import annotations

import itertools
import uuid

import pytest

from tuneflow import journal as module
from tuneflow.errors import CorruptError, StorageError, StudyConflictError
from tuneflow.events import Closed, Finished, Launched, Opened, Reported
from tuneflow.journal import Entry, Journal, entry_path, snapshot_path
from tuneflow.store import Store
from tuneflow.trial import Failure, Report

FACTS = (
    Opened(1),
    Launched(0, 0, 3, params={"x": 0.5, "name": "ä\u2028\x85"}),
    Reported(0, Report(1, {"loss": float("nan")}, "ckpt")),
    Closed(0, "failed", Failure("ValueError", "line\nbreak\r\n")),
)


@pytest.fixture
def store():
    return Store(f"memory://{uuid.uuid4().hex}")


def written(store, count):
    """Append so many entries, each with a fact that tells them apart."""
    journal = Journal(store)
    journal.read()
    return [journal.append([Opened(number)]) for number in range(count)]


def opened(entries):
    return [fact.epoch for entry in entries for fact in entry.facts]


def test_what_was_appended_is_read(store):
    journal = Journal(store)
    entries = [journal.append(FACTS), journal.append([Finished("over")], round_number=3)]
    found = Journal(store).read()
    assert [entry.to_bytes() for entry in found] == [entry.to_bytes() for entry in entries]
    assert [(entry.number, entry.round) for entry in found] == [(0, None), (1, 3)]
    assert repr(found[0].facts) == repr(FACTS)


def test_only_what_is_new_is_read_again(store):
    reader = Journal(store)
    written(store, 2)
    assert opened(reader.read()) == [0, 1]
    assert reader.read() == []
    reader.append([Opened(2)])
    writer = Journal(store)
    writer.read()
    writer.append([Opened(3)])
    assert opened(reader.read()) == [3]


def test_every_flipped_bit_is_found_or_harmless():
    entry = Entry(7, FACTS[:2], round=1)
    data = entry.to_bytes()
    for position, bit in itertools.product(range(len(data)), range(8)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << bit
        with pytest.raises(CorruptError, match="the/path"):
            Entry.from_bytes(bytes(flipped), "the/path")


def test_every_torn_entry_is_found_or_whole():
    entry = Entry(7, FACTS, nonce="n")
    data = entry.to_bytes()
    for length in range(len(data) - 1):
        with pytest.raises(CorruptError):
            Entry.from_bytes(data[:length], "path")
    # Without its last line break it is all there.
    assert Entry.from_bytes(data[:-1], "path").to_bytes() == data


def test_a_newer_format_is_named():
    body = b'{"entry":0,"format":2}\n'
    with pytest.raises(CorruptError, match="format 2; this tuneflow reads 1"):
        Entry.from_bytes(body + module._checksum(body), "path")


@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_entry_is_found(store, gone):
    written(store, 3)
    store.delete([entry_path(gone)])
    with pytest.raises(CorruptError, match=f"{gone:020d}.jsonl is missing"):
        Journal(store).read()


def test_an_entry_at_another_ones_place_is_found(store):
    written(store, 2)
    data = store.get(entry_path(0))
    store.delete([entry_path(1)])
    store.create(entry_path(1), data)
    with pytest.raises(CorruptError, match="holds entry 0"):
        Journal(store).read()


def test_other_files_in_the_folder_do_not_matter(store):
    written(store, 2)
    store.put("journal/.DS_Store", b"")
    assert opened(Journal(store).read()) == [0, 1]


def test_of_two_drivers_one_loses(store):
    first, second = Journal(store), Journal(store)
    first.append([Opened(1)])
    with pytest.raises(StudyConflictError, match="another driver"):
        second.append([Opened(1)])
    assert second.next_number == 0
    # It may look, and go on after what it has seen.
    second.read()
    second.append([Opened(2)])
    with pytest.raises(StudyConflictError):
        first.append([Closed(0, "paused")])


def test_twins_that_write_the_same_round_both_succeed(store):
    first, second = Journal(store), Journal(store)
    first.append(FACTS, round_number=0)
    second.append(FACTS, round_number=0)
    assert second.next_number == 1
    with pytest.raises(StudyConflictError):
        Journal(store).append(FACTS[:1], round_number=0)


def test_an_answer_that_was_lost_is_made_good(store):
    class Deaf(Store):
        """A storage whose first put is done, and then done again as nobody heard of it."""

        def _put_new(self, path, data):
            super()._put_new(path, data)
            super()._put_new(path, data)

    journal = Journal(Deaf(store.url))
    journal.append([Opened(1)])
    journal.append([Opened(2)])
    assert opened(Journal(store).read()) == [1, 2]


# Snapshots.


@pytest.fixture
def small_snapshots(monkeypatch):
    monkeypatch.setattr(module, "SNAPSHOT_EVERY", 4)


def numbers_fetched(store):
    """Return which entries are fetched one by one when the journal is read."""
    fetched = []

    class Watched(Store):
        def get_many(self, paths):
            fetched.extend(path for path in paths if path.startswith("journal/"))
            return super().get_many(paths)

    entries = Journal(Watched(store.url)).read()
    return opened(entries), [int(path[8:28]) for path in fetched]


def test_snapshots_spare_their_entries(store, small_snapshots):
    written(store, 10)
    assert store.list("snapshots/") == [snapshot_path(3), snapshot_path(7)]
    assert numbers_fetched(store) == (list(range(10)), [8, 9])


@pytest.mark.parametrize("gone", [[3], [7], [3, 7]])
def test_a_snapshot_may_vanish(store, small_snapshots, gone):
    written(store, 10)
    store.delete([snapshot_path(last) for last in gone])
    first = min(gone) - 3
    assert numbers_fetched(store) == (list(range(10)), list(range(first, 10)))
    # The next append packs again what is not packed.
    journal = Journal(store)
    journal.read()
    journal.append([Opened(10)])
    expected = [] if first + 4 <= 11 else [10]
    assert numbers_fetched(store) == (list(range(11)), expected)


@pytest.mark.parametrize("data", [b"", b"\n", b"{}", b"\xff" * 100])
def test_a_damaged_snapshot_is_ignored(store, small_snapshots, data):
    written(store, 10)
    store.put(snapshot_path(3), data)
    assert numbers_fetched(store) == (list(range(10)), list(range(10)))


def test_every_flipped_byte_of_a_snapshot_is_harmless(store, small_snapshots):
    written(store, 4)
    data = store.get(snapshot_path(3))
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1
        store.put(snapshot_path(3), bytes(flipped))
        assert opened(Journal(store).read()) == [0, 1, 2, 3]


def test_a_snapshot_that_cannot_be_written_stops_nobody(store, small_snapshots):
    class Full(Store):
        def put(self, path, data):
            raise StorageError("no space left")

    journal = Journal(Full(store.url))
    for number in range(9):
        journal.append([Opened(number)])
    assert opened(Journal(store).read()) == list(range(9))
