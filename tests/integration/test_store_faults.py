"""A storage that fails for a while: each thing that can go wrong, through each thing one does."""

from __future__ import annotations

import itertools
import logging
import math
import signal
import tempfile
import threading
import urllib.request
from pathlib import Path

import pytest

import tuneflow
from tests.clusters import until
from tests.meddling import SLOW_DOWN, everything
from tests.servers import BUCKET
from tuneflow import patience
from tuneflow.errors import StorageError
from tuneflow.journal import Journal
from tuneflow.schedulers import ASHA
from tuneflow.space import choice, uniform
from tuneflow.store import AlreadyExists, Chunks, NotFound, Store
from tuneflow.store_clients import open_objects

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("impatient")]

TWO_PARTS = bytes(range(251)) * 21_000
MANY = [f"many/{number}" for number in range(6)]


READ_ONLY = f"s3://{BUCKET}/read-only"


@pytest.fixture(scope="module")
def large(s3_endpoint):
    """An object that comes in parts, as ``large`` in `READ_ONLY`."""
    url = f"{s3_endpoint}/{BUCKET}/read-only/large"
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, TWO_PARTS, kind, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


@pytest.fixture
def store(meddling, s3_url, large):
    """A store behind the proxy that holds a few objects, and that has been seen at work."""
    made = Store(s3_url)
    for key in MANY:
        made.put(key, key.encode())
    meddling.seen.clear()
    return made


def create(store, folder):
    store.create("new", b"mine")
    assert store.get("new") == b"mine"


def put(store, folder):
    store.put("many/0", b"other")
    assert store.get("many/0") == b"other"


def upload(store, folder):
    store.upload("new", Chunks(lambda: [TWO_PARTS[:100], TWO_PARTS[100:]]), len(TWO_PARTS))
    assert store.get("new") == TWO_PARTS


def upload_iterator(store, folder):
    store.upload("new", iter([TWO_PARTS[:100], TWO_PARTS[100:]]), len(TWO_PARTS))
    assert store.get("new") == TWO_PARTS


def upload_small(store, folder):
    store.upload("new", iter([b"sm", b"all"]), 5)
    assert store.get("new") == b"small"


def download(store, folder):
    Store(READ_ONLY).download("large", folder / "large")
    assert (folder / "large").read_bytes() == TWO_PARTS
    assert [file.name for file in folder.iterdir()] == ["large"]


def get(store, folder):
    assert store.get("many/3") == b"many/3"


def get_many(store, folder):
    assert store.get_many([*MANY, "missing"]) == [*(key.encode() for key in MANY), None]


def stream(store, folder):
    assert b"".join(Store(READ_ONLY).stream("large", 5, 7)) == TWO_PARTS[5:12]


def look(store, folder):
    assert store.size("many/1") == 6
    assert not store.exists("missing")
    assert len(store.stats("many")) == len(MANY)


def list_(store, folder):
    assert store.list("many") == MANY


def delete(store, folder):
    store.delete([*MANY[:3], "missing"])
    assert store.list("many") == MANY[3:]


def probe(store, folder):
    store.probe()
    assert store.list("many") == MANY


DOING = [
    create,
    put,
    upload,
    upload_small,
    download,
    get,
    get_many,
    stream,
    look,
    list_,
    delete,
    probe,
]
FAULTS = {
    "500": {"status": 500},
    "502": {"status": 502, "code": "BadGateway"},
    "503": {"status": 503, "code": "ServiceUnavailable"},
    "SlowDown": {"status": 503, "code": SLOW_DOWN},
    "429": {"status": 429, "code": "TooManyRequests"},
    "408": {"status": 408, "code": "RequestTimeout"},
    "400 RequestTimeout": {"status": 400, "code": "RequestTimeout"},
    "409": {"status": 409, "code": "OperationAborted"},
    "reset before": {"reset": "before"},
    "answer lost": {"reset": "after"},
    "answer cut": {"cut": 3},
    "answer late": {"delay": 0.05},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("doing", DOING, ids=lambda doing: doing.__name__)
class TestEveryOperation:
    def test_gets_through_when_each_request_fails_twice(
        self, store, meddling, tmp_path, doing, fault
    ):
        # Each kind of request twice, of which an upload in parts and a list have several.
        for kind in ("^PUT", "^GET", "^HEAD", "^POST .*delete", "^POST .*uploads", "uploadId"):
            # The answer to a HEAD has no body, and so no code.
            if kind != "^HEAD" or FAULTS[fault].get("status") != 400:
                meddling.go_wrong(where=kind, times=2, **FAULTS[fault])
        doing(store, tmp_path)
        assert meddling.met


@pytest.mark.parametrize("doing", DOING, ids=lambda doing: doing.__name__)
class TestAway:
    @pytest.fixture(autouse=True)
    def _parts_are_tried_once(self, monkeypatch):
        monkeypatch.setattr("tuneflow.store_clients._PART_SECONDS", 0.0)

    def test_waits_for_a_server_that_has_stopped_to_listen(
        self, store, meddling, tmp_path, doing, caplog
    ):
        caplog.set_level(logging.INFO, "tuneflow")
        meddling.away()
        ended = in_thread(doing, store, tmp_path)
        until(lambda: "trying again" in caplog.text)
        meddling.back()
        ended()
        assert messages(caplog, "trying again") == 1
        until(lambda: "answers again" in caplog.text)
        assert messages(caplog, "answers again") == 1

    def test_gives_up_when_that_lasts_for_too_long(
        self, store, meddling, tmp_path, doing, monkeypatch
    ):
        monkeypatch.setenv(patience.VARIABLE, "0.3")
        meddling.away()
        with pytest.raises(StorageError, match="cannot be reached"):
            doing(store, tmp_path)


class TestUploadsInParts:
    def test_sends_a_part_again_whose_answer_was_lost(self, store, meddling):
        meddling.go_wrong(reset="after", where="^PUT .*partNumber=", times=3)
        upload_iterator(store, None)
        assert len(meddling.met) == 3
        assert meddling.count("POST", "uploads") == 1

    @pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
    def test_completes_again_when_that_has_failed(self, store, meddling, code):
        meddling.go_wrong(status=500, code=code, where="^POST .*uploadId=")
        upload_iterator(store, None)

    def test_a_completion_that_fails_under_the_status_of_success_is_a_failure(
        self, store, meddling
    ):
        meddling.go_wrong(status=200, code="InternalError", where="^POST .*uploadId=")
        upload(store, None)
        assert len(meddling.met) == 1

    def test_begins_anew_when_a_completion_was_done_and_its_answer_lost(self, store, meddling):
        meddling.go_wrong(reset="after", where="^POST .*uploadId=")
        # Amazon's answer to the second try; not every server forgets.
        meddling.go_wrong(status=404, code="NoSuchUpload", where="^POST .*uploadId=")
        upload(store, None)
        assert meddling.count("POST", "uploads") == 2

    def test_begins_anew_after_an_outage_that_outlasts_the_requests_of_a_part(
        self, store, meddling, monkeypatch
    ):
        monkeypatch.setattr("tuneflow.store_clients._PART_SECONDS", 0.01)
        meddling.go_wrong(status=503, where="^PUT .*partNumber=2", times=3)
        upload(store, None)
        assert meddling.count("POST", "uploads") > 1

    def test_says_so_when_what_an_iterator_has_yielded_is_lost(self, store, meddling, monkeypatch):
        monkeypatch.setenv(patience.VARIABLE, "0.01")
        meddling.go_wrong(status=503, where="^PUT .*partNumber=2", times=math.inf)
        with pytest.raises(StorageError, match=r"cannot upload .*503"):
            upload_iterator(store, None)
        assert not store.exists("new")


class TestCommits:
    def test_a_conflict_with_another_request_is_no_lost_race(self, store, meddling):
        meddling.go_wrong(status=409, code="ConditionalRequestConflict", where="^PUT", times=5)
        store.create("new", b"mine")
        assert store.get("new") == b"mine"

    def test_a_lost_race_behind_a_lost_answer_is_told(self, store, meddling):
        Store(store.url).create("new", b"theirs")
        meddling.go_wrong(reset="after", where="^PUT", times=2)
        meddling.go_wrong(status=503, where="^GET", times=2)
        with pytest.raises(AlreadyExists):
            store.create("new", b"mine")

    def test_a_lost_answer_counts_even_without_patience(self, store, meddling, monkeypatch):
        monkeypatch.setenv(patience.VARIABLE, "0")
        meddling.go_wrong(reset="after", where="^PUT")
        store.create("new", b"mine")
        assert meddling.count("PUT") == 1

    def test_racing_writers_on_a_bad_network_have_one_winner_each(self, store, meddling):
        meddling.choose = everything(seed=7, rate=0.3)
        wins = []

        def race(me):
            mine = Store(store.url)
            for number in range(15):
                try:
                    mine.create(f"race/{number}", f"{me}".encode())
                except AlreadyExists:
                    continue
                wins.append((number, me))

        for ended in [in_thread(race, me) for me in range(4)]:
            ended()
        meddling.choose = None
        assert sorted(number for number, _ in wins) == list(range(15))
        assert all(store.get(f"race/{number}") == f"{me}".encode() for number, me in wins)


ANSWERS = [
    (400, "InvalidArgument"),
    (401, "Unauthorized"),
    (403, "AccessDenied"),
    (404, "NoSuchBucket"),
]


class TestWhatIsNeverTriedAgain:
    @pytest.mark.parametrize("answer", ANSWERS)
    @pytest.mark.parametrize("doing", [create, put, upload, get, get_many, list_, delete])
    def test_is_told_at_once(self, store, meddling, doing, answer):
        status, code = answer
        meddling.go_wrong(status=status, code=code, times=math.inf)
        with pytest.raises(StorageError):
            doing(store, None)
        threads = len(MANY) + 1 if doing is get_many else 1
        # A lost answer would be found by reading back.
        assert len(meddling.met) <= threads + (doing is create)

    def test_that_there_is_no_such_object_is_an_answer(self, store, meddling):
        with pytest.raises(NotFound):
            store.get("missing")
        assert len(meddling.seen) == 1

    def test_a_refused_list_names_the_credentials(self, store, meddling):
        meddling.go_wrong(status=403, code="AccessDenied")
        with pytest.raises(StorageError, match=r"credentials were refused .*\(403 AccessDenied\)"):
            store.list("many")


class TestSilence:
    """Time limits are tested with short ones: the long ones are the same settings."""

    def test_a_server_that_never_answers_is_asked_again(self, store, meddling, monkeypatch):
        monkeypatch.setenv("AWS_READ_TIMEOUT", "300ms")
        meddling.go_wrong(hang=True)
        get(Store(store.url), None)
        assert len(meddling.met) == 1
        assert meddling.count("GET") == 2

    def test_a_part_that_is_never_answered_is_sent_again(self, store, meddling, monkeypatch):
        monkeypatch.setenv("AWS_READ_TIMEOUT", "1s")
        meddling.go_wrong(hang=True, where="partNumber=1")
        upload_iterator(Store(store.url), None)
        assert meddling.count("PUT", "partNumber=1&") == 2

    def test_large_bodies_are_given_more_time_than_small_ones(self, s3_url):
        small, large = open_objects(s3_url)[0], open_objects(s3_url, part_seconds=60)[0]
        limits = [objects.client_options["read_timeout"] for objects in (small, large)]
        assert [str(limit) for limit in limits] == ["30s", "2m"]

    def test_an_answer_that_trickles_is_waited_for(self, store, meddling, monkeypatch):
        monkeypatch.setenv("AWS_READ_TIMEOUT", "2s")
        meddling.go_wrong(where="^GET", trickle=0.2)
        assert Store(READ_ONLY).get("large") == TWO_PARTS
        assert len(meddling.met) == 1


class TestFirstContact:
    def test_is_given_less_time(self, meddling, s3_url, monkeypatch):
        monkeypatch.setattr(patience, "FIRST", 0.1)
        meddling.away()
        with pytest.raises(StorageError, match="cannot be reached"):
            Store(s3_url).probe()

    def test_is_given_all_the_time_where_somebody_else_was_answered(
        self, meddling, s3_url, monkeypatch, caplog
    ):
        monkeypatch.setattr(patience, "FIRST", 0.0)
        meddling.away()
        ended = in_thread(lambda: Store(s3_url).expected().list())
        until(lambda: "trying again" in caplog.text)
        meddling.back()
        ended()


class TestInterrupts:
    def test_end_a_wait_at_once(self, store, meddling, monkeypatch):
        interrupted_when_away(monkeypatch, meddling, lambda: store.put("a", b"1"))

    def test_end_the_waits_of_threads(self, store, meddling, monkeypatch):
        interrupted_when_away(monkeypatch, meddling, lambda: store.get_many(MANY))
        until(lambda: not waiting_threads())

    def test_end_an_upload_in_parts(self, store, meddling, monkeypatch, tmp_path):
        interrupted_when_away(monkeypatch, meddling, lambda: upload(store, tmp_path))


class TestWholeStudies:
    def test_need_no_more_than_what_the_documentation_has_people_permit(self, meddling, s3_url):
        small_study(s3_url, "streaming")
        bucket = f"/{BUCKET}"
        permitted = {
            "PutObject": ("PUT", f"{bucket}/"),
            "GetObject": ("GET", f"{bucket}/"),
            "HeadObject, with the permission of GetObject": ("HEAD", f"{bucket}/"),
            "ListBucket": ("GET", f"{bucket}?list-type=2&"),
            "DeleteObject": ("POST", f"{bucket}?delete"),
        }
        asked = {(method, path) for method, path, _ in meddling.seen}
        assert not [
            (method, path)
            for method, path in asked
            if not any(method == m and path.startswith(p) for m, p in permitted.values())
        ]
        prefix = s3_url.rpartition("/")[2]
        assert all(prefix in path for method, path in asked if method != "POST")

    @pytest.mark.parametrize("way", ["streaming", "rounds"])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_come_to_the_same_on_a_bad_network_as_on_a_good_one(
        self, meddling, s3_url, tmp_path, way, seed
    ):
        quiet = small_study(f"file://{tmp_path}/quiet", way)
        meddling.choose = everything(seed, rate=0.25)
        troubled = small_study(s3_url, way)
        meddling.choose = None
        assert len(meddling.met) > 10
        assert facts(troubled) == facts(quiet)
        assert troubled.best_config == quiet.best_config

    def test_get_over_a_server_that_is_away_again_and_again(self, meddling, s3_url, tmp_path):
        quiet = small_study(f"file://{tmp_path}/quiet", "streaming")
        over = threading.Event()

        def come_and_go():
            for limit in itertools.count(15, 15):
                until(lambda: over.is_set() or len(meddling.seen) >= limit)  # noqa: B023
                if over.is_set():
                    return
                meddling.away()
                meddling.back()

        ended = in_thread(come_and_go)
        try:
            troubled = small_study(s3_url, "streaming")
        finally:
            over.set()
            ended()
        assert facts(troubled) == facts(quiet)


def train(config):
    """Report up to four levels, each with a checkpoint, and go on from one."""
    restored = tuneflow.checkpoint()
    done = int((restored / "epoch").read_text()) if restored else 0
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(done + 1, 5):
            Path(folder, "epoch").write_text(f"{epoch}")
            tuneflow.report(loss=(config["x"] - 0.3) ** 2 + 1 / epoch, checkpoint=folder)


def small_study(storage, way):
    return tuneflow.tune(
        train,
        space={"x": uniform(0, 1), "y": choice(["a", "b"])},
        metric="loss",
        mode="min",
        trials=6,
        searcher="random",
        scheduler=ASHA(max_resource=4, reduction_factor=2),
        storage=storage,
        name="small",
        progress=False,
        round_size="all" if way == "rounds" else None,
    )


def facts(result):
    """Return what the journal says, but for what no two runs have in common."""
    return [entry.facts for entry in Journal(Store(result.url)).read()]


def in_thread(function, *args):
    """Call it in a thread; return what waits for it, and raises what it has raised."""
    raised = []

    def run():
        try:
            function(*args)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def ended():
        thread.join(60)
        assert not thread.is_alive()
        if raised:
            raise raised[0]

    return ended


def messages(caplog, words):
    return sum(words in record.getMessage() for record in caplog.records)


def waiting_threads():
    return [one for one in threading.enumerate() if one.name.startswith("tuneflow-storage")]


def interrupted_when_away(monkeypatch, meddling, call):
    """Check that Ctrl-C ends a call that waits for a storage, long before its patience ends."""
    monkeypatch.setenv(patience.VARIABLE, "3600")
    monkeypatch.setattr(patience, "LONGEST", 3600.0)
    monkeypatch.setattr(patience, "SHORTEST", 3600.0)
    meddling.away()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
