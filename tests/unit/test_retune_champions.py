"""The champion log: records that are whole or refused, and the fence around retunes."""

from __future__ import annotations

import itertools
import json
import math
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.champions import CHAMPION, champion, clock, keep, log_of, promote
from tuneflow.errors import CorruptError, SpecError, StudyConflictError, StudyNotFoundError
from tuneflow.retune.champions import Champion, ChampionLog, Record, record_path
from tuneflow.retune.checkpoint import download_checkpoint
from tuneflow.store import Store
from tuneflow.store_errors import AlreadyExists

FAILED = {"reason": "the cluster was away"}
KEPT = {"champion": None, "challenger": None, "comparison": None, "reason": "nothing found"}


@pytest.fixture
def store():
    return Store(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def log(store):
    return log_of(store)


def types(log):
    return [record.type for record in log.records]


class TestARecord:
    def test_is_read_as_it_was_written(self, store, log):
        promote(log, "first", config={"name": "ä\u2028\x85", "x": 1e-300})
        log.append("failed", FAILED, retune=log.begin(run="second"))
        promote(log, "third")
        log.roll_back()
        assert ChampionLog(store).read().records == log.records

    def test_has_a_time_in_utc_to_the_second(self, log):
        log.begin(run="first")
        assert log.records[0].at == "2026-11-23T18:00:00Z"

    def test_is_one_json_document_that_people_can_read(self, store, log):
        promote(log, "first")
        data = json.loads(store.get(record_path(2)))
        assert data["type"] == "promoted"
        assert data["champion"]["config"] == CHAMPION.config

    def test_every_flipped_bit_is_found(self):
        data = Record(1, "failed", 1, {**FAILED, "at": "2026-11-23T18:00:00Z"}).to_bytes()
        for position, bit in itertools.product(range(len(data)), range(8)):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(CorruptError, match="the/path"):
                Record.from_bytes(bytes(flipped), "the/path")

    def test_every_torn_one_is_found(self):
        data = Record(1, "failed", 1, {**FAILED, "at": "2026-11-23T18:00:00Z"}).to_bytes()
        for length in range(len(data)):
            with pytest.raises(CorruptError, match="the/path"):
                Record.from_bytes(data[:length], "the/path")

    @pytest.mark.parametrize(
        ("kind", "data", "said"),
        [
            ("crowned", FAILED, "'crowned' is no type of record"),
            ("failed", {}, "has a field 'reason', which is missing"),
            ("failed", {"reason": 3}, "cannot have 3 as its 'reason'"),
            ("promoted", {**KEPT, "champion": None}, "a champion is a JSON object, not None"),
            ("kept", {**KEPT, "comparison": {"p": 1}}, "a comparison has the fields"),
            ("rolled_back", {"to": 1, "reason": ""}, "1 is no retune that"),
            ("began", {"run": "a"}, "has a field 'data_version', which is missing"),
        ],
    )
    def test_that_is_no_record_is_named(self, kind, data, said):
        stored = Record(1, kind, 1, {**data, "at": "2026-11-23T18:00:00Z"}).to_bytes()
        with pytest.raises(CorruptError, match=f"the/path.*({said})"):
            Record.from_bytes(stored, "the/path")

    def test_without_a_proper_time_is_none(self):
        stored = Record(1, "failed", 1, {**FAILED, "at": "today"}).to_bytes()
        with pytest.raises(CorruptError, match="cannot have 'today' as its 'at'"):
            Record.from_bytes(stored, "the/path")

    def test_may_have_what_a_later_release_adds(self):
        data = {**FAILED, "at": "2026-11-23T18:00:00Z", "host": "here"}
        record = Record(1, "failed", 1, data)
        assert Record.from_bytes(record.to_bytes(), "the/path") == record


class TestAChampion:
    def test_is_read_as_it_was_written(self):
        assert Champion.from_json(json.loads(json.dumps(CHAMPION.to_json()))) == CHAMPION

    def test_may_have_seeds_without_a_usable_value(self):
        broken = replace(CHAMPION, values=(0.9, math.nan, -math.inf))
        stored = json.dumps(broken.to_json(), allow_nan=False)
        assert repr(Champion.from_json(json.loads(stored))) == repr(broken)

    @pytest.mark.parametrize("name", [*CHAMPION.to_json()])
    def test_without_one_of_its_fields_is_none(self, name):
        data = CHAMPION.to_json()
        del data[name]
        with pytest.raises(CorruptError, match=name):
            Champion.from_json(data)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("mode", "maximum"),
            ("value", "NaN"),
            ("value", True),
            ("values", [0.9, "high"]),
            ("values", 0.9),
            ("seeds", [-1]),
            ("config", []),
            ("checkpoint", 3),
            ("trial", 1.5),
            ("host", "here"),
        ],
    )
    def test_with_a_wrong_field_is_none(self, name, value):
        with pytest.raises(CorruptError, match=name):
            Champion.from_json({**CHAMPION.to_json(), name: value})

    def test_has_a_standard_error_where_two_values_are_usable(self):
        assert CHAMPION.standard_error == pytest.approx(0.01 / math.sqrt(3))
        assert replace(CHAMPION, values=(0.9, math.nan)).standard_error is None

    def test_without_a_checkpoint_has_none_to_download(self, tmp_path):
        with pytest.raises(SpecError, match="has no checkpoint"):
            download_checkpoint(CHAMPION, tmp_path)


class TestTheLog:
    def test_of_nothing_has_no_champion(self, log):
        assert log.records == []
        assert log.champion is None
        assert log.newest_retune == 0
        assert log.under_way is None

    def test_numbers_records_and_retunes_from_one(self, store, log):
        promote(log, "first")
        keep(log, "second")
        assert store.list("champions") == [record_path(number) for number in (1, 2, 3, 4)]
        assert [record.number for record in log.records] == [1, 2, 3, 4]
        assert [record.retune for record in log.records] == [1, 1, 2, 2]
        assert log.newest_retune == 2

    def test_has_the_champion_as_it_was_measured_last(self, log):
        promote(log, "first", 0.9)
        keep(log, "second", 0.85)
        assert log.champion.value == 0.85
        assert log.champion.config == CHAMPION.config
        assert log.made_by(log.champion_record).number == 2

    def test_keeps_the_champion_where_it_could_not_be_measured(self, log):
        promote(log, "first", 0.9)
        log.append("kept", KEPT, retune=log.begin(run="second"))
        assert log.champion.value == 0.9

    def test_reads_only_what_is_new(self, store, log):
        other = ChampionLog(store).read()
        promote(log, "first")
        assert [record.number for record in other.refresh()] == [1, 2]
        assert other.refresh() == []

    @pytest.mark.parametrize("gone", [1, 2])
    def test_with_a_gap_is_refused(self, store, log, gone):
        promote(log, "first")
        keep(log, "second")
        store.delete([record_path(gone)])
        with pytest.raises(CorruptError, match=f"{gone:020d}.json is missing"):
            ChampionLog(store).read()

    def test_with_a_record_at_anothers_place_is_refused(self, store, log):
        promote(log, "first")
        store.create(record_path(3), store.get(record_path(1)))
        with pytest.raises(CorruptError, match="holds record 1"):
            ChampionLog(store).read()

    def test_with_a_rollback_to_nowhere_is_refused(self, store, log):
        log.begin(run="first")
        said = {"to": 1, "champion": CHAMPION.to_json(), "reason": "", "at": log.records[0].at}
        store.create(record_path(2), Record(2, "rolled_back", None, said).to_bytes())
        with pytest.raises(CorruptError, match="goes back to record 1, which has no champion"):
            ChampionLog(store).read()

    def test_does_not_mind_other_files(self, store, log):
        promote(log, "first")
        store.put("champions/.DS_Store", b"")
        assert len(ChampionLog(store).read().records) == 2

    def test_never_writes_what_it_could_not_read(self, store, log):
        number = log.begin(run="first")
        with pytest.raises(CorruptError):
            log.append("failed", {}, retune=number)
        assert len(store.list("champions")) == 1


class TestBeginning:
    def test_again_by_the_same_run_is_the_same_retune(self, store, log):
        assert log.begin(run="a") == 1
        assert log_of(store).begin(run="a") == 1
        assert types(log_of(store)) == ["began"]

    def test_by_another_run_is_another_retune(self, log):
        assert [log.begin(run=run) for run in "abc"] == [1, 2, 3]

    def test_by_a_log_that_is_behind_takes_the_next_number(self, store, log):
        behind = log_of(store)
        log.begin(run="a")
        assert behind.begin(run="b") == 2
        assert [record.data["run"] for record in behind.records] == ["a", "b"]

    def test_by_a_twin_that_is_behind_is_the_same_retune(self, store, log):
        twin = ChampionLog(store, clock())
        twin.read()
        log.begin(run="a")
        assert twin.begin(run="a") == 1
        assert twin.begin(run="b") == 2

    def test_after_a_verdict_is_another_retune(self, log):
        promote(log, "a")
        assert log.open_retune("a") is None
        assert log.begin(run="a") == 2

    def test_after_a_failure_goes_on_with_the_retune(self, log):
        number = log.begin(run="a")
        log.append("failed", FAILED, retune=number)
        assert log.open_retune("a") == number
        assert log.open_retune("b") is None

    def test_after_a_rollback_is_another_retune(self, log):
        promote(log, "a")
        promote(log, "b")
        log.begin(run="c")
        log.roll_back()
        assert log.open_retune("c") is None
        assert log.begin(run="c") == 4


class TestTheFence:
    def test_lets_the_newest_retune_through(self, log):
        promote(log, "a")
        assert log.verdict_of(1).type == "promoted"
        assert log.verdict_of(2) is None

    @pytest.mark.parametrize(("kind", "data"), [("kept", KEPT), ("failed", FAILED)])
    def test_stops_an_older_retune(self, store, log, kind, data):
        older = log_of(store)
        number = older.begin(run="a")
        log.refresh()
        log.begin(run="b")
        said = rf"retune 1 of {store.url} was overtaken by retune 2 \(run b\); the champion is as"
        with pytest.raises(StudyConflictError, match=said):
            older.append(kind, data, retune=number)
        assert types(log_of(store)) == ["began", "began"]

    def test_stops_a_retune_after_a_rollback(self, store, log):
        promote(log, "a")
        promote(log, "b")
        number = log.begin(run="c")
        log_of(store).roll_back()
        with pytest.raises(
            StudyConflictError, match=r"overtaken by the rollback of .* \(record 6\)"
        ):
            log.append("promoted", {**KEPT, "champion": CHAMPION.to_json()}, retune=number)

    def test_lets_a_retune_go_on_after_it_has_failed(self, log):
        number = log.begin(run="a")
        log.append("failed", FAILED, retune=number)
        log.append("failed", {"reason": "again"}, retune=number)
        log.append("kept", KEPT, retune=number)
        assert types(log) == ["began", "failed", "failed", "kept"]
        assert log.verdict_of(number).type == "kept"

    def test_gives_a_twin_the_verdict_that_is_there(self, store, log):
        number = log.begin(run="a")
        twin = log_of(store)
        first = log.append("kept", KEPT, retune=number)
        assert twin.append("kept", dict(KEPT), retune=number) == first
        assert types(log_of(store)) == ["began", "kept"]

    def test_refuses_a_second_verdict(self, log):
        number = log.begin(run="a")
        log.append("kept", KEPT, retune=number)
        for kind, data in (("kept", {**KEPT, "reason": "other"}), ("failed", FAILED)):
            with pytest.raises(StudyConflictError, match="has ended already: record 2 is 'kept'"):
                log.append(kind, data, retune=number)

    def test_knows_no_retune_that_has_not_begun(self, log):
        with pytest.raises(StudyNotFoundError, match=r"retune 3 of .* has not begun"):
            log.append("failed", FAILED, retune=3)

    def test_lets_the_best_of_a_study_be_the_first_champion_only(self, store, log):
        said = {"champion": CHAMPION.to_json(), "comparison": None, "reason": "the best"}
        twin = log_of(store)
        log.append("failed", FAILED, retune=log.begin(run="a"))
        first = log.append("promoted", said, retune=0)
        assert twin.append("promoted", said, retune=0) == first
        with pytest.raises(StudyConflictError, match="has a champion already"):
            twin.append("promoted", {**said, "reason": "another"}, retune=0)

    def test_takes_a_lost_answer_for_success(self, log, monkeypatch):
        create = Store.create

        def loses_the_answer(self, path, data):
            create(self, path, data)
            create(self, path, data)

        monkeypatch.setattr(Store, "create", loses_the_answer)
        assert promote(log, "a").number == 2

    def test_says_so_where_a_storage_hides_what_is_there(self, log, monkeypatch):
        def is_taken(self, path, data):
            raise AlreadyExists(path)

        monkeypatch.setattr(Store, "create", is_taken)
        with pytest.raises(Exception, match="exists, but the storage does not list it"):
            log.begin(run="a")


class TestRollingBack:
    @pytest.fixture
    def three(self, log):
        """Three champions: record 2 and, measured anew, 4; 6; and 8."""
        promote(log, "a", 0.7)
        keep(log, "b", 0.72)
        promote(log, "c", 0.8)
        promote(log, "d", 0.9)
        return log

    def test_goes_to_the_champion_before(self, three):
        record = three.roll_back(reason="it was trained on rubbish")
        assert (record.number, record.data["to"]) == (9, 6)
        assert record.retune is None
        assert three.champion.value == 0.8
        assert record.data["reason"] == "it was trained on rubbish"

    def test_again_goes_further_back_and_not_forth(self, three):
        assert [three.roll_back().data["to"] for _ in range(2)] == [6, 4]
        assert three.champion.value == 0.72
        with pytest.raises(SpecError, match="has had no champion before this one"):
            three.roll_back()

    def test_brings_back_any_record_with_a_champion(self, three):
        three.roll_back(2)
        assert three.champion.value == 0.7
        three.roll_back(8)
        assert three.champion.value == 0.9

    def test_after_it_the_champion_may_be_measured_and_replaced(self, three):
        three.roll_back(2)
        keep(three, "e", 0.71)
        assert three.made_by(three.champion_record).number == 2
        promote(three, "f", 0.95)
        assert three.predecessor().number == 11

    @pytest.mark.parametrize(
        ("to", "said"),
        [
            (1, "there is no record 1 with a champion; those that have one are 2, 4, 6"),
            (77, "there is no record 77"),
            (8, "the champion of record 8 is the present one; those that have one are 2, 4, 6"),
        ],
    )
    def test_to_nowhere_lists_where_to(self, three, to, said):
        with pytest.raises(SpecError, match=said):
            three.roll_back(to)

    def test_twice_to_the_same_record_is_refused(self, three):
        three.roll_back(2)
        with pytest.raises(SpecError, match="is the present one"):
            three.roll_back(2)

    def test_of_a_line_without_a_champion_is_refused(self, log):
        log.begin(run="a")
        with pytest.raises(SpecError, match="has no champion to roll back"):
            log.roll_back()


@given(st.lists(st.tuples(st.sampled_from("bpkfr"), st.integers(0, 4)), max_size=25))
def test_whatever_is_tried_the_rules_hold(tries):
    store = Store(f"memory://{uuid.uuid4().hex}")
    logs = [ChampionLog(store, clock()).read() for _ in range(2)]
    for position, (what, number) in enumerate(tries):
        log = logs[position % 2]
        try:
            attempt(log, what, number)
        except (StudyConflictError, StudyNotFoundError, SpecError):
            continue
    require_rules(ChampionLog(store).read().records)


def attempt(log, what, number):
    promoted = {"champion": champion(number / 10).to_json(), "comparison": None, "reason": ""}
    if what == "b":
        log.begin(run=f"run {number}")
    elif what == "r":
        log.roll_back()
    else:
        kind, data = {
            "p": ("promoted", promoted),
            "k": ("kept", KEPT),
            "f": ("failed", FAILED),
        }[what]
        log.append(kind, data, retune=number)


def require_rules(records):
    """Whatever is there was allowed when it was written."""
    newest, is_open = 0, False
    for number, record in enumerate(records, 1):
        assert record.number == number
        if record.type == "began":
            assert record.retune == newest + 1
            newest, is_open = record.retune, True
        elif record.type == "rolled_back":
            is_open = False
        elif record.retune == 0:
            assert not any(earlier.champion for earlier in records[: number - 1])
        else:
            assert record.retune == newest
            assert is_open
            is_open = record.type == "failed"
