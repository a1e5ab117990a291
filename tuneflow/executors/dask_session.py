"""One driver's work on one Dask cluster: segments out, messages back.

Reports and outcomes come as events on a topic of the driver's own, in order, a few milliseconds
after they were made. The future of a task only tells that no more will come.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from distributed import Client, Future

from tuneflow.errors import ClusterError
from tuneflow.executors import dask_worker
from tuneflow.executors.base import Ended, Message, Progress
from tuneflow.executors.dask_cluster import (
    address_of,
    check_request,
    has_retired,
    later,
    places,
)
from tuneflow.executors.dask_flight import (
    Event,
    Flight,
    Heard,
    Pace,
    Settled,
    Woken,
    died,
    is_disconnected,
    lost,
    raised,
    stopped,
)
from tuneflow.executors.dask_orders import Orders
from tuneflow.executors.dask_requests import Requests
from tuneflow.executors.dask_shipment import Freight, NotShippedError, forget
from tuneflow.executors.placement import Placement, Request
from tuneflow.jsonio import loads
from tuneflow.trial import Outcome, Report, Segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import Job

# As many as Dask's own `allowed-failures`, after which it gives up a task that kills workers.
_DEATHS = 3

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
        objective: the user's code; pickled once, and again only when every copy is lost.
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
        self._freight = Freight(client, job, objective)
        self._pace = Pace(prefetch)
        self._parallel = parallel
        self._nonce = uuid.uuid4().hex[:12]
        self._requests = Requests(client, request)
        self._placement = Placement(request)
        self._flights: dict[int, Flight] = {}
        self._live: dict[tuple[int, int], Flight] = {}
        self._backlog: dict[tuple[int, int], Segment] = {}
        self._orders = Orders(client, self._topic, self._flights)
        self._withdrawn: set[int] = set()
        self._homes: dict[int, str] = {}
        self._launches = self._seen = 0
        self._looked = -math.inf
        self._is_woken = False
        self._ready: list[Message] = []
        self._events: SimpleQueue[Event] = SimpleQueue()
        client.subscribe_topic(self._topic, self._hear)
        self._look_around()
        self._freight.for_worker(None, spread=self._placement.capacity > 0)

    @property
    def slots(self) -> int:
        """How many segments may be under way now."""
        if self._requests.differ and not self._parallel:
            # Not all take as much. What waits for more room than there is counts as that room.
            return max(1, len(self._live) + max(len(self._backlog), self._placement.room))
        return max(1, self._parallel or self._placement.capacity) * (1 + self._pace.waiting)

    def submit(self, segment: Segment) -> None:
        """Have a segment run as soon as a slot is free; the next `wait` sends it.

        Raises ClusterError for one with resources of its own that no worker has.
        """
        if segment.key in self._live:
            return
        if segment.resources is not None:
            self._check(segment)
        self._requests.began(segment)
        self._backlog.setdefault(segment.key, segment)

    def _check(self, segment: Segment) -> None:
        """Raise ClusterError where there are workers, and none can ever run a segment."""
        request = self._requests.of(segment)
        if self._parallel or self._placement.choose(None, request) is not None:
            return
        self._look_around()
        if self._placement.places:
            check_request(request, self._placement.places, f"trial {segment.trial}")

    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said, waiting for at least one message."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._launch_more()
        while not self._ready and not self._is_woken:
            left = math.inf if deadline is None else deadline - time.monotonic()
            with suppress(Empty):
                self._take(self._events.get(timeout=max(min(left, self._until_look()), 0.0)))
            if self._until_look() <= 0:
                self._look_around()
            self._launch_more()
            if left <= 0:
                break
        self._gather(_LINGER if self._pace.waiting else 0.0)
        self._is_woken = False
        messages, self._ready = self._ready, []
        return messages

    def wake(self) -> None:
        """Have the `wait` in progress, or the next one, return."""
        self._events.put(Woken())

    def cancel(self, trial: int, segment: int) -> None:
        """Tell a running segment to stop, or take it back before it begins."""
        key = trial, segment
        waiting = self._backlog.pop(key, None)
        if waiting is not None:
            self._requests.ended(waiting)
            self._ready.append(Ended(stopped(waiting)))
        flight = self._live.get(key)
        if flight is None:
            return
        flight.stopping = True
        if flight.began:
            self._orders.tell(flight, "stop")
            return
        self._withdraw(flight)
        self._end(flight, stopped(flight.segment))

    def abandon(self, grace: float) -> None:
        """End all segments without an outcome, and wait until they have ended, but not long."""
        for flight in self._flights.values():
            if flight.began or not flight.alone:
                self._orders.tell(flight, "abandon")
        waiting = {flight.launch for flight in self._flights.values() if flight.began}
        deadline = time.monotonic() + grace
        while waiting and (left := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except Empty:
                break
            if isinstance(event, Settled):
                waiting.difference_update(event.launches)

    def close(self) -> None:
        """Let go of everything on the cluster."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)
            ident = self._freight.ident
            done = later(self._client, lambda: self._client.run(forget, ident, on_error="ignore"))
            done.wait(_FORGETTING)
        self._backlog.clear()
        self._flights.clear()
        self._live.clear()

    @property
    def _topic(self) -> str:
        return f"tuneflow-{self._nonce}"

    def _launch_more(self) -> None:
        """Send segments while there are slots, each where its trial is warm, if it can be.

        Short ones wait until half of the slots are free, and go many to a task.
        """
        if self._requests.differ:
            self._launch_each()
            return
        slots, are_short = self.slots, self._pace.waiting > 0
        free = slots - len(self._flights)
        if free < (slots / 2 if are_short else 1):
            return
        planned: dict[str | None, list[Flight]] = {}
        for key in list(islice(self._backlog, free)):
            segment = self._backlog.pop(key)
            flight = self._plan(segment, self._homes.pop(segment.trial, None))
            planned.setdefault(flight.where, []).append(flight)
        for where, flights in planned.items():
            size = self._placement.share(where, len(flights)) if are_short else 1
            for first in range(0, len(flights), size):
                self._launch(flights[first : first + size])

    def _launch_each(self) -> None:
        """Send segments in their order, each once a worker has room for what it takes.

        None goes ahead of one that takes more, or that might wait for ever. Where no worker could
        ever run one, Dask is to know of it: a cluster may grow.
        """
        for key, segment in list(self._backlog.items()):
            request, home = self._requests.of(segment), self._homes.get(segment.trial)
            where = self._placement.choose(home, request)
            if where and not self._parallel and not self._placement.fits(where, request):
                return
            del self._backlog[key]
            self._launch([self._plan(segment, self._homes.pop(segment.trial, None))])

    def _plan(self, segment: Segment, home: str | None = None) -> Flight:
        """Choose where a segment is to run."""
        self._launches += 1
        request = self._requests.of(segment)
        where = self._placement.choose(home, request)
        flight = Flight(self._launches, segment, request, where)
        self._flights[flight.launch] = self._live[segment.key] = flight
        if where:
            self._placement.put(flight.launch, where, request)
        return flight

    def _launch(self, batch: Sequence[Flight]) -> None:
        """Send segments that are planned for the same worker, to be run one after another."""
        first, where = batch[0], batch[0].where
        trial, number = first.segment.key
        future = self._client.submit(
            dask_worker.run,
            self._freight.for_worker(where, spread=self._placement.capacity > 0),
            ident=self._freight.ident,
            batch=[(flight.launch, flight.segment.to_json()) for flight in batch],
            topic=self._topic,
            gpu=first.request.gpu,
            key=f"tuneflow-{trial}-{number}-{self._nonce}-{first.launch}",
            pure=False,
            resources=self._requests.demands(first.request),
            workers=[where] if where else None,
        )
        for flight in batch:
            flight.future, flight.alone = future, len(batch) == 1
        launches = [flight.launch for flight in batch]
        future.add_done_callback(lambda done: self._events.put(Settled(launches, done)))

    def _hear(self, event: tuple[float, str]) -> None:
        self._events.put(Heard(event[1]))

    def _until_look(self) -> float:
        return self._looked + _LOOK - time.monotonic()

    def _look_around(self) -> None:
        """Take note of workers that joined or left.

        Dask tells of them on its topic "all", which no client must listen to: among the events
        there are some that cannot be serialized, and the connection breaks with the first.
        """
        try:
            if set(self._client.nthreads()) != self._placement.addresses:
                self._placement.update(places(self._client))
            self._freight.limit(self._placement.addresses)
            self._rescue()
        except OSError as error:
            raise self._disconnected() from error
        self._looked = time.monotonic()
        self._unblock()

    def _rescue(self) -> None:
        """Launch again what was on workers that left.

        Dask could do it, but it forgets what a task demands once the task may leave its worker.
        The latest first: the earliest one was running, and if it was what killed the worker, the
        others are through before it does so again.
        """
        there = self._placement.addresses
        left = {flight.where for flight in self._flights.values() if flight.where} - there
        retired = {worker for worker in left if has_retired(self._client, worker)}
        for flight in reversed(list(self._flights.values())):
            if flight.where in left:
                self._relaunch(flight, deaths=int(flight.where not in retired))

    def _unblock(self) -> None:
        """Move what has waited since the last look behind a segment that turns out to be long."""
        seen, self._seen = self._seen, self._launches
        for flight in list(self._flights.values()):
            is_old = flight.launch <= seen and not flight.began
            if is_old and self._placement.should_leave(flight.where, flight.request):
                self._relaunch(flight, deaths=0)

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
        else:
            for launch in event.launches:
                self._on_settled(launch, event.future)

    def _on_message(self, message: dict[str, Any]) -> None:
        flight = self._flights.get(message["launch"])
        if flight is None:
            self._on_stray(message)
            return
        flight.where, flight.began = message["worker"], True
        self._placement.put(flight.launch, message["worker"], flight.request)
        self._freight.arrived(message["worker"])
        if flight.stopping:
            # It may be a second try, on another worker.
            self._orders.tell(flight, "stop")
        for data in message["reports"]:
            report = Report.from_json(data)
            flight.note(report.resource)
            self._ready.append(Progress(*flight.segment.key, report, message["worker"]))
        if message["outcome"] is not None:
            self._end(flight, Outcome.from_json(message["outcome"]))

    def _on_stray(self, message: dict[str, Any]) -> None:
        """End a segment that was taken back at the moment when it began."""
        launch, worker = message["launch"], message["worker"]
        if launch in self._withdrawn and message["outcome"] is None:
            self._orders.tell_once(worker, launch, "abandon")
        self._withdrawn.discard(launch)

    def _on_settled(self, launch: int, future: Future[Any]) -> None:
        """Act on the end of a task that has said no outcome; the usual one is forgotten by now."""
        flight = self._flights.get(launch)
        if flight is None:
            return
        if future.status == "error":
            self._on_error(flight, future.exception())
        elif future.status == "finished":
            self._end(flight, lost(flight.segment, "its worker gave it up"))
        else:
            self._on_cancelled(flight, future)

    def _on_error(self, flight: Flight, error: BaseException | None) -> None:
        if isinstance(error, NotShippedError):
            self._freight.limit(set())
            self._relaunch(flight)
        elif flight.began or flight.alone:
            self._end(flight, raised(flight.segment, error))
        else:
            # One that ran before it in the same task was at fault.
            self._relaunch(flight)

    def _on_cancelled(self, flight: Flight, future: Future[Any]) -> None:
        """Launch again what lost the objective that it needs, with a new copy of it."""
        if self._client.status != "running" or is_disconnected(future):
            raise self._disconnected()
        self._look_around()
        if flight.launch in self._flights:
            self._relaunch(flight)

    def _disconnected(self) -> ClusterError:
        return ClusterError(
            f"the connection to the Dask scheduler at {address_of(self._client)} is lost; resume "
            "the study when it is back"
        )

    def _relaunch(self, flight: Flight, deaths: int = 1) -> None:
        """Launch a segment again, alone, unless too many workers died with it."""
        self._withdraw(flight)
        flight.deaths += deaths
        if flight.stopping:
            self._end(flight, stopped(flight.segment))
        elif flight.deaths > _DEATHS:
            self._end(flight, died(flight.segment, flight.deaths))
        else:
            self._forget(flight)
            again = self._plan(flight.segment)
            again.deaths, again.reached = flight.deaths, flight.reached
            self._launch([again])

    def _end(self, flight: Flight, outcome: Outcome) -> None:
        self._forget(flight)
        self._requests.ended(flight.segment)
        self._ready.append(Ended(outcome))
        if outcome.status == "paused" and flight.where:
            self._homes[outcome.trial] = flight.where
        self._pace.note(outcome)

    def _forget(self, flight: Flight) -> None:
        del self._flights[flight.launch]
        del self._live[flight.segment.key]
        self._placement.free(flight.launch)

    def _withdraw(self, flight: Flight) -> None:
        self._withdrawn.add(flight.launch)
        future = flight.future
        if flight.alone:
            later(self._client, lambda: self._client.cancel([future]))
        elif flight.where is not None:
            self._orders.tell_once(flight.where, flight.launch, "abandon")
