"""Patience with a storage that fails for a while.

A storage may be away for a minute: it is restarted, it asks for fewer requests, the network has
dropped out. That must not end a study of a week, so an operation that fails like this is tried
again, with pauses that double and are drawn at random ("equal jitter": Brooker, Exponential Backoff
And Jitter, AWS Architecture Blog, 2015).

A storage that has not answered this process yet is likely to be a wrong address, so it is given
less time. All that is known of a storage is shared by the whole process, so that many threads
that wait for it say so once.
"""

from __future__ import annotations

import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar
from urllib.parse import urlsplit

from obstore.exceptions import AlreadyExistsError

from tuneflow.errors import SpecError
from tuneflow.store_errors import CAUGHT, explain, is_transient, is_without_credentials

VARIABLE: Final = "TUNEFLOW_STORAGE_PATIENCE"
"""The environment variable with the seconds that a storage is waited for."""

USUAL: Final = 300.0
"""Seconds that a storage is waited for which has answered before."""

FIRST: Final = 20.0
"""Seconds for one that has not."""

SHORTEST = 0.1
"""Seconds of the first pause, at most."""

LONGEST = 10.0
"""Seconds of any pause, at most."""

_BLIPS: Final = 3
"""Failures in a row that nobody is told of, unless they took long."""

_LONG: Final = 5.0
"""Seconds that are long."""

_log = logging.getLogger("tuneflow")
_here = threading.local()
_A = TypeVar("_A")
_B = TypeVar("_B")


def patience() -> float:
    """Return the seconds that a storage is waited for. Raises SpecError if it is no number."""
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else USUAL
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise SpecError(VARIABLE, f"{text!r} is no number of seconds", "set 300, or 0 for none")
    return seconds


class Place:
    """A storage, as this process has found it so far; get one from `place_of`.

    Args:
        name: what it is called in messages.

    Attributes:
        is_expected: whether somebody else has found it at work, so that it is waited for as long
            as if it had answered here.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_expected = False
        self._has_answered = False
        self._away_since: float | None = None
        self._lock = threading.Lock()

    def patience(self, error: Exception) -> float:
        """Return the seconds to wait after a failure, from the first one on."""
        usual = patience()
        is_known = self._has_answered or (self.is_expected and not is_without_credentials(error))
        return usual if is_known else min(usual, FIRST)

    def answers(self) -> None:
        """Take note that it has answered."""
        self._has_answered = True
        if self._away_since is None:
            return
        with self._lock:
            since, self._away_since = self._away_since, None
        if since is not None:
            seconds = time.monotonic() - since
            _log.info("%s answers again, after %.0f s", self.name, seconds)

    def fails(self, error: Exception, since: float, until: float) -> None:
        """Take note that it goes on failing, as nobody may have been told."""
        with self._lock:
            is_told, self._away_since = self._away_since is not None, self._away_since or since
        if not is_told:
            _log.warning(
                "%s fails: %s; trying again for %.0f s (%s)",
                self.name,
                explain(error),
                max(until - time.monotonic(), 0.0),
                VARIABLE,
            )


def place_of(url: str) -> Place:
    """Return what this process knows of the storage that a store's URL is in."""
    parts = urlsplit(url)
    root = f"{parts.scheme}://{parts.netloc}"
    # Another endpoint is another storage.
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "") if parts.scheme == "s3" else ""
    return _places.setdefault((root, endpoint), Place(root))


_places: dict[tuple[str, str], Place] = {}


def patiently(place: Place, attempt: Callable[[], _A]) -> _A:
    """Return what ``attempt`` returns, calling it again while the storage fails for the moment.

    Raises what it raises when that will not pass by itself, or has not for too long.
    """
    began, since = time.monotonic(), None
    for tries, pause in enumerate(_pauses(), start=1):
        try:
            result = attempt()
        except CAUGHT as error:
            if not is_transient(error):
                if isinstance(error, FileNotFoundError | AlreadyExistsError):
                    place.answers()
                raise
            now = time.monotonic()
            since = since or now
            until = since + place.patience(error)
            left = until - now
            if left > 0 and (tries > _BLIPS or now > began + _LONG):
                place.fails(error, since, until)
            if left <= 0 or _is_abandoned_after(min(pause, left)):
                raise
        else:
            place.answers()
            return result
    raise AssertionError("pauses do not end")


def in_parallel(function: Callable[[_A], _B], values: Iterable[_A], threads: int) -> list[_B]:
    """Apply a function to values in threads, and return what it returns, in order.

    After the first error, or KeyboardInterrupt, what waits for a storage in these threads, or in
    those that they have started, stops waiting. An error is raised when they have ended, so that
    nothing is written any more; KeyboardInterrupt at once.
    """
    abandoned = _Abandonment(getattr(_here, "abandoned", None))

    def call(value: _A) -> _B:
        _here.abandoned = abandoned
        return function(value)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="tuneflow-storage")
    try:
        results = [*pool.map(call, values)]
    except BaseException as error:
        abandoned.begin()
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    pool.shutdown()
    return results


def is_abandoned() -> bool:
    """Whether nobody wants what this thread of `in_parallel` does."""
    abandoned = getattr(_here, "abandoned", None)
    return abandoned is not None and abandoned.has_begun()


class _Abandonment:
    """Whether a group of threads works for nobody; so it is if that of its parent does."""

    def __init__(self, parent: _Abandonment | None) -> None:
        self._parent = parent
        self._event = threading.Event()

    def begin(self) -> None:
        self._event.set()

    def has_begun(self) -> bool:
        return self._event.is_set() or (self._parent is not None and self._parent.has_begun())

    def wait(self, seconds: float) -> bool:
        """Wait until it begins, or so long; return whether it has begun."""
        end = time.monotonic() + seconds
        while not self.has_begun() and (left := end - time.monotonic()) > 0:
            # In slices, for a parent's begin wakes nobody.
            self._event.wait(min(left, 0.2))
        return self.has_begun()


def _is_abandoned_after(seconds: float) -> bool:
    """Wait; return whether there is nobody left to wait for."""
    abandoned: _Abandonment | None = getattr(_here, "abandoned", None)
    if abandoned is not None:
        return abandoned.wait(seconds)
    # Ctrl-C ends it.
    time.sleep(seconds)
    return False


def _pauses() -> Iterator[float]:
    """Yield the seconds of each pause."""
    longest = SHORTEST
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(longest * 2, LONGEST)
