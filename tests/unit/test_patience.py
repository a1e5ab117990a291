"""How long a storage that fails is waited for, and what is said of it."""

from __future__ import annotations

import logging
import re
import threading

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError

from tests.clusters import until
from tuneflow import patience
from tuneflow.errors import SpecError
from tuneflow.opened import OpenStudy
from tuneflow.patience import Place, in_parallel, is_abandoned, patiently, place_of
from tuneflow.store_errors import is_transient

AWAY = GenericError("Generic S3 error: x - HTTP error: error sending request")
REFUSED = PermissionDeniedError("status code: 403 Forbidden")
NO_KEYS = GenericError("Error performing PUT http://169.254.169.254/latest - kind: Connect")


class Clock:
    """A clock that pauses move, and nothing else."""

    def __init__(self):
        self.now = 1000.0
        self.pauses = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(patience.time, "monotonic", made.monotonic)
    monkeypatch.setattr(patience.time, "sleep", made.sleep)
    return made


@pytest.fixture
def known():
    """A place that has answered."""
    place = Place("s3://bucket")
    place.answers()
    return place


def failing(times, error=AWAY):
    """Return what fails so often, and then returns how often it was called."""
    calls = []

    def attempt():
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return attempt


class TestPatience:
    def test_a_minute_is_waited_for(self, clock, known):
        end = clock.now + 60

        def attempt():
            if clock.now < end:
                raise AWAY
            return "there"

        assert patiently(known, attempt) == "there"
        assert 60 <= sum(clock.pauses) < 60 + patience.LONGEST

    def test_pauses_double_up_to_the_longest_and_are_not_all_the_same(self, clock, known):
        patiently(known, failing(20))
        bounds = [min(0.1 * 2**n, 10.0) for n in range(20)]
        assert all(b / 2 <= pause <= b for pause, b in zip(clock.pauses, bounds, strict=True))
        assert len(set(clock.pauses)) > 10

    @pytest.mark.parametrize(("said", "seconds"), [(None, 300), ("60", 60), ("0.5", 0.5)])
    def test_it_ends(self, clock, known, monkeypatch, said, seconds):
        if said is not None:
            monkeypatch.setenv(patience.VARIABLE, said)
        with pytest.raises(GenericError):
            patiently(known, failing(10_000))
        assert sum(clock.pauses) == pytest.approx(seconds)

    def test_there_may_be_none(self, clock, known, monkeypatch):
        monkeypatch.setenv(patience.VARIABLE, "0")
        with pytest.raises(GenericError):
            patiently(known, failing(1))
        assert clock.pauses == []

    @pytest.mark.parametrize("said", ["soon", "-1", "nan"])
    def test_that_is_no_number_is_refused(self, known, monkeypatch, said):
        monkeypatch.setenv(patience.VARIABLE, said)
        with pytest.raises(SpecError, match=f"TUNEFLOW_STORAGE_PATIENCE: '{said}' is no number"):
            patiently(known, failing(1))

    def test_it_begins_with_the_first_failure_of_an_operation(self, clock, known):
        def attempt():
            clock.now += 200
            raise AWAY

        with pytest.raises(GenericError):
            patiently(known, attempt)
        assert len(clock.pauses) == 2

    def test_what_will_not_pass_is_raised_at_once(self, clock, known):
        with pytest.raises(PermissionDeniedError):
            patiently(known, failing(1, REFUSED))
        assert clock.pauses == []


class TestFirstContact:
    def waited(self, clock, place, error=AWAY):
        with pytest.raises(GenericError):
            patiently(place, failing(10_000, error))
        return round(sum(clock.pauses))

    def test_is_given_less_time(self, clock):
        assert self.waited(clock, Place("s3://bucket")) == 20

    @pytest.mark.parametrize("answer", [FileNotFoundError("x"), AlreadyExistsError("x")])
    def test_is_over_with_any_answer(self, clock, answer):
        place = Place("s3://bucket")
        with pytest.raises(type(answer)):
            patiently(place, failing(1, answer))
        assert self.waited(clock, place) == 300

    def test_is_none_where_somebody_else_was_answered(self, clock):
        place = Place("s3://bucket")
        place.is_expected = True
        assert self.waited(clock, place) == 300

    def test_without_credentials_it_is_one_nevertheless(self, clock):
        place = Place("s3://bucket")
        place.is_expected = True
        assert self.waited(clock, place, NO_KEYS) == 20

    def test_credentials_that_were_found_before_are_waited_for(self, clock, known):
        assert self.waited(clock, known, NO_KEYS) == 300

    def test_is_that_of_a_bucket_and_an_endpoint(self, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one")
        one = place_of("s3://first-contact/a")
        assert place_of("s3://first-contact/b/c") is one
        assert place_of("s3://another/a") is not one
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://other")
        assert place_of("s3://first-contact/a") is not one


class TestWhatIsSaid:
    @pytest.fixture(autouse=True)
    def _everything(self, caplog):
        caplog.set_level(logging.INFO, "tuneflow")

    def test_once_when_waiting_begins_and_once_when_it_is_over(self, clock, known, caplog):
        patiently(known, failing(12))
        began, ended = caplog.records
        assert began.levelname == "WARNING"
        assert re.fullmatch(
            r"s3://bucket fails: the storage cannot be reached; trying again for (299|300) s "
            r"\(TUNEFLOW_STORAGE_PATIENCE\)",
            began.getMessage(),
        )
        assert ended.levelname == "INFO"
        assert ended.getMessage().startswith("s3://bucket answers again, after ")

    def test_nothing_of_a_moment(self, clock, known, caplog):
        patiently(known, failing(3))
        assert caplog.records == []

    def test_but_of_a_failure_that_took_long(self, clock, known, caplog):
        calls = []

        def attempt():
            clock.now += 30
            calls.append(1)
            if len(calls) == 1:
                raise AWAY

        patiently(known, attempt)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]

    def test_once_by_all_threads(self, known, caplog, monkeypatch):
        monkeypatch.setattr(patience, "SHORTEST", 0.001)
        monkeypatch.setattr(patience, "LONGEST", 0.001)
        over = threading.Event()

        def attempt():
            if not over.is_set():
                raise AWAY

        def use(_):
            patiently(known, attempt)

        threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: caplog.records)
        over.set()
        for thread in threads:
            thread.join()
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


class TestInParallel:
    def test_returns_in_order(self):
        assert in_parallel(lambda n: n * n, range(20), 4) == [n * n for n in range(20)]
        assert in_parallel(lambda n: n, [], 4) == []

    def test_the_first_error_ends_what_the_others_wait_for(self, known):
        """Also of threads that these have started."""
        waiting = threading.Barrier(3)

        def wait():
            waiting.wait(30)
            raise AWAY

        def work(number):
            if number == 0:
                waiting.wait(30)
                raise ValueError("wrong")
            if number == 1:
                return patiently(known, once_then_away(wait))
            return in_parallel(lambda _: patiently(known, once_then_away(wait)), [1], 1)

        def once_then_away(first):
            calls = iter([first])

            def attempt():
                next(calls, away)()

            return attempt

        def away():
            raise AWAY

        with pytest.raises(ValueError, match="wrong"):
            in_parallel(work, range(3), 3)
        until(lambda: not [t for t in threading.enumerate() if "tuneflow-storage" in t.name])

    def test_tells_its_threads_that_nobody_waits_for_them(self):
        both, told = threading.Barrier(2), threading.Event()

        def work(number):
            both.wait(30)
            if number == 0:
                raise ValueError("wrong")
            until(is_abandoned)
            told.set()

        with pytest.raises(ValueError, match="wrong"):
            in_parallel(work, range(2), 2)
        assert told.wait(30)
        assert not is_abandoned()


class TestWhatPasses:
    @pytest.mark.parametrize(
        ("text", "passes"),
        [
            ("Server returned non-2xx status code: 500 Internal Server Error: x", True),
            ("Server returned non-2xx status code: 503 y: <Error><Code>SlowDown</Code>", True),
            ("Server returned non-2xx status code: 400 y: <Code>RequestTimeout</Code>", True),
            ("Server returned error response: <Error><Code>InternalError</Code></Error>", True),
            ("HTTP error: error sending request", True),
            ("HTTP error: request or response body error", True),
            ("Server returned non-2xx status code: 501 Not Implemented: x", False),
            ("Server returned non-2xx status code: 507 y: <Code>XMinioStorageFull</Code>", False),
            ("Server returned non-2xx status code: 400 y: <Error><Code>InvalidPart</Code>", False),
            ("HTTP error: builder error\n kind: Builder BadScheme", False),
            ("HTTP error: error sending request\n invalid peer certificate: UnknownIssuer", False),
            ("Generic LocalFileSystem error: x: Stale file handle (os error 116)", True),
            ("Generic LocalFileSystem error: x: Input/output error (os error 5)", False),
            ("Received non-partial response when range requested", False),
        ],
    )
    def test_is_told_by_what_obstore_says(self, text, passes):
        assert is_transient(GenericError(text)) is passes


def test_a_setting_that_is_no_number_is_not_taken_for_a_damaged_study(monkeypatch):
    for name, value in (
        (patience.VARIABLE, "soon"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=f"^{patience.VARIABLE}: 'soon' is no number of seconds"):
        OpenStudy.open("s3://bucket/study")
