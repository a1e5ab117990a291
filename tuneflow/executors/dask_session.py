"""One driver's work on one Dask cluster: segments out, messages back.

Reports and outcomes come as events on a topic of the driver's own, in order, a few milliseconds
after they were made. The future of a task only tells that no more will come.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from distributed import Client, Future

from tuneflow.errors import ClusterError, StorageError, TuneflowError
from tuneflow.executors.base import Message, Progress
from tuneflow.executors.dask_client import is_lost
from tuneflow.executors.dask_cluster import address_of, later
from tuneflow.executors.dask_fleet import Fleet
from tuneflow.executors.dask_flight import (
    Event,
    Flight,
    Gone,
    Heard,
    Settled,
    Woken,
    is_disconnected,
    lost,
    raised,
)
from tuneflow.executors.dask_shipment import NotShippedError, forget
from tuneflow.executors.placement import Request
from tuneflow.jsonio import loads
from tuneflow.trial import Outcome, Report, Segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import How, Job

# Seconds that workers have to let go of a study's data; a hanging one must not hold up the end.
_FORGETTING = 2.0

# Seconds after which to see whether workers joined or left.
_LOOK = 1.0

# Seconds to go on listening after a message while segments are short: the driver answers with a
# commit, which may as well be about several of them.
_LINGER = 0.01


class Session:
    """Runs the segments of one study on a cluster.

    Args:
        client: a client of our own, which nobody else subscribes with.
        request: what a trial takes of a worker.
        job: what is the same for all segments.
        objective: the user's code.
        prefetch: how many segments to have waiting for each slot, at most, while they are short.
        parallel: how many segments to run at once, whatever workers there are; None asks them.
    """

    def __init__(
        self,
        client: Client,
        request: Request,
        job: Job,
        objective: Objective,
        *,
        prefetch: int = 0,
        parallel: int | None = None,
    ) -> None:
        self._client = client
        self._stream = client.scheduler_comm
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._is_woken = False
        nonce = uuid.uuid4().hex[:12]
        self._topic = f"tuneflow-{nonce}"
        client.subscribe_topic(self._topic, self._hear)
        with self._connected():
            self._fleet = Fleet(
                client,
                request,
                job,
                objective,
                nonce=nonce,
                topic=self._topic,
                on_settled=lambda launches, done: self._events.put(Settled(launches, done)),
                on_gone=lambda launch: self._events.put(Gone(launch)),
                prefetch=prefetch,
                parallel=parallel,
            )
        self._looked = time.monotonic()

    @property
    def slots(self) -> int:
        """How many segments may be under way now."""
        return self._fleet.slots

    def submit(self, segment: Segment) -> None:
        """Have a segment run as soon as a slot is free; the next `wait` sends it.

        Raises ClusterError for one with resources of its own that no worker has.
        """
        with self._connected():
            self._fleet.submit(segment)

    def cancel(self, trial: int, segment: int) -> None:
        """Tell a running segment to stop, or take it back before it begins."""
        self._fleet.cancel(trial, segment)

    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said, waiting for at least one message."""
        fleet = self._fleet
        deadline = None if timeout is None else time.monotonic() + timeout
        fleet.launch_more()
        while not fleet.ready and not self._is_woken:
            left = math.inf if deadline is None else deadline - time.monotonic()
            with suppress(Empty):
                self._take(self._events.get(timeout=max(min(left, self._until_look()), 0.0)))
            if self._until_look() <= 0:
                self._look_around()
            fleet.launch_more()
            if left <= 0:
                break
        self._gather(_LINGER if fleet.pace.waiting else 0.0)
        self._is_woken = False
        messages, fleet.ready = fleet.ready, []
        return messages

    def wake(self) -> None:
        """Have the `wait` in progress, or the next one, return."""
        self._events.put(Woken())

    def preempt(self, grace: float) -> None:
        """Have all segments save a checkpoint and end without an outcome, but wait not long."""
        self._end_all("preempt", grace)

    def abandon(self, grace: float) -> None:
        """End all segments without an outcome, and wait until they have ended, but not long."""
        self._end_all("abandon", grace)

    def _end_all(self, how: How, grace: float) -> None:
        """Tell all that has begun to end, and have nothing begin in its place.

        The latest first: what waits in a task would begin as soon as the one before it has ended.
        """
        # Those whose beginning was not heard yet are to be told as well.
        with suppress(TuneflowError):
            self._gather(0.0)
        flights = list(self._fleet.flights.values())
        for flight in reversed(flights):
            if flight.began or not flight.alone:
                self._fleet.orders.tell(flight, how)
            else:
                self._fleet.withdraw(flight)
        self._await_end([flight for flight in flights if flight.began], grace)

    def _await_end(self, flights: list[Flight], grace: float) -> None:
        """Wait until no more is heard of flights; what is said meanwhile is of no use."""
        waiting = {flight.launch for flight in flights if flight.launch in self._fleet.flights}
        deadline = time.monotonic() + grace
        while waiting and (left := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except Empty:
                break
            if isinstance(event, Settled):
                waiting.difference_update(event.launches)
                for launch in event.launches:
                    self._fleet.flights.pop(launch, None)

    def close(self) -> None:
        """Let go of everything on the cluster."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)
            ident = self._fleet.ident
            done = later(self._client, lambda: self._client.run(forget, ident, on_error="ignore"))
            done.wait(_FORGETTING)
        self._fleet.clear()

    def _hear(self, event: tuple[float, str]) -> None:
        self._events.put(Heard(event[1]))

    def _until_look(self) -> float:
        return self._looked + _LOOK - time.monotonic()

    def _look_around(self) -> None:
        """Take note of what became of workers."""
        with self._connected():
            self._fleet.look_around()
        if is_lost(self._client, self._stream):
            # Calls are answered by whatever scheduler is there, and nothing would be heard from it.
            raise self._disconnected()
        self._looked = time.monotonic()

    def _gather(self, seconds: float) -> None:
        """Take what is said by then."""
        deadline = time.monotonic() + seconds
        with suppress(Empty):
            while True:
                self._take(self._events.get(timeout=max(deadline - time.monotonic(), 0.0)))

    def _take(self, event: Event) -> None:
        if isinstance(event, Heard):
            for message in loads(event.messages):
                self._on_message(message)
        elif isinstance(event, Woken):
            self._is_woken = True
        elif isinstance(event, Gone):
            self._with(event.launch, lambda flight: self._fleet.relaunch(flight, deaths=0))
        else:
            for launch in event.launches:
                self._with(launch, lambda flight: self._on_settled(flight, event.future))

    def _with(self, launch: int, act: Callable[[Flight], None]) -> None:
        """Act on a flight that is not over."""
        flight = self._fleet.flights.get(launch)
        if flight is not None:
            act(flight)

    def _on_message(self, message: dict[str, Any]) -> None:
        fleet, worker, outcome = self._fleet, message["worker"], message["outcome"]
        flight = fleet.flights.get(message["launch"])
        if flight is None:
            is_over = outcome is not None or message["preempted"]
            fleet.end_stray(message["launch"], worker, has_outcome=is_over)
            return
        with self._connected():
            fleet.arrived(flight, worker)
        if flight.stopping:
            # It may be a second try, on another worker.
            fleet.orders.tell(flight, "stop")
        for data in message["reports"]:
            report = Report.from_json(data)
            flight.note(report)
            fleet.ready.append(Progress(*flight.segment.key, report, worker))
        if outcome is not None:
            fleet.end(flight, Outcome.from_json(outcome))
        elif message["preempted"]:
            fleet.preempted(flight)

    def _on_settled(self, flight: Flight, future: Future[Any]) -> None:
        """Act on the end of a task that has said no outcome; the usual one is forgotten by now."""
        if future.status == "error":
            self._on_error(flight, future.exception())
        elif future.status == "finished":
            self._fleet.end(flight, lost(flight.segment, "its worker gave it up"))
        else:
            self._on_cancelled(flight, future)

    def _on_error(self, flight: Flight, error: BaseException | None) -> None:
        if isinstance(error, NotShippedError):
            self._fleet.forget_copies()
            self._fleet.resend(flight)
        elif isinstance(error, StorageError):
            self._fleet.retry(flight, error)
        elif flight.began or flight.alone:
            self._fleet.end(flight, raised(flight.segment, error))
        else:
            # One that ran before it in the same task was at fault.
            self._fleet.relaunch(flight)

    def _on_cancelled(self, flight: Flight, future: Future[Any]) -> None:
        """Launch again what lost the objective that it needs, with a new copy of it."""
        if is_lost(self._client, self._stream) or is_disconnected(future):
            raise self._disconnected()
        self._look_around()
        self._with(flight.launch, self._fleet.resend)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Say in one sentence that the scheduler is out of reach."""
        try:
            yield
        except OSError as error:
            raise self._disconnected() from error

    def _disconnected(self) -> ClusterError:
        return ClusterError(
            f"the connection to the Dask scheduler at {address_of(self._client)} is lost; resume "
            "the study when it is back"
        )
