"""One driver's work on one Dask cluster: segments out, messages back.

Reports and outcomes come as events on a topic of the driver's own, in order, a few milliseconds
after they were made. The future of a task only tells that no more will come.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from distributed import Client, Future

from tuneflow.errors import ClusterError
from tuneflow.executors import dask_worker
from tuneflow.executors.base import Ended, Message, Progress
from tuneflow.executors.dask_cluster import address_of, demands, later, places
from tuneflow.executors.dask_flight import (
    Event,
    Flight,
    Heard,
    Pace,
    Settled,
    died,
    is_disconnected,
    lost,
    raised,
    stopped,
)
from tuneflow.executors.dask_shipment import Freight, NotShippedError, forget
from tuneflow.executors.placement import Placement, Request
from tuneflow.trial import Outcome, Report, Segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import How, Job

# As many as Dask's own `allowed-failures`, after which it gives up a task that kills workers.
_RELAUNCHES = 3

# Seconds between two tries to tell a segment that has begun and does not listen yet.
_RETRY = 0.05

# Seconds that workers have to let go of a study's data; one that hangs must not hold up the end.
_FORGETTING = 2.0

# Seconds after which to see whether workers joined or left.
_LOOK = 1.0


class Session:
    """Runs the segments of one study on a cluster.

    Args:
        client: a client of our own, which nobody else subscribes with.
        request: what a trial takes of a worker.
        job: what is the same for all segments.
        objective: the user's code; pickled once, and again only when every copy is lost.
        prefetch: how many segments to have waiting for each slot while segments are short.
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
        self._demands = demands(client, request)
        self._placement = Placement(request)
        self._flights: dict[int, Flight] = {}
        self._live: dict[tuple[int, int], Flight] = {}
        self._backlog: dict[tuple[int, int], Segment] = {}
        self._withdrawn: set[int] = set()
        self._homes: dict[int, str] = {}
        self._launches = 0
        self._looked = -math.inf
        self._ready: list[Message] = []
        self._events: SimpleQueue[Event] = SimpleQueue()
        client.subscribe_topic(self._topic, self._hear)
        self._look_around()
        self._freight.for_worker(None, spread=self._placement.capacity > 0)

    @property
    def slots(self) -> int:
        """How many segments may be under way now."""
        slots = self._parallel or self._placement.capacity
        return max(1, slots * (1 + self._pace.waiting))

    def submit(self, segment: Segment) -> None:
        """Have a segment run as soon as a slot is free."""
        if segment.key not in self._live:
            self._backlog.setdefault(segment.key, segment)
            self._launch_more()

    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said, waiting for at least one message."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            left = math.inf if deadline is None else deadline - time.monotonic()
            with suppress(Empty):
                self._take(self._events.get(timeout=max(min(left, self._until_look()), 0.0)))
                self._drain()
            if self._until_look() <= 0:
                self._look_around()
            self._launch_more()
            if left <= 0:
                break
        messages, self._ready = self._ready, []
        return messages

    def cancel(self, trial: int, segment: int) -> None:
        """Tell a running segment to stop, or take it back before it begins."""
        key = trial, segment
        waiting = self._backlog.pop(key, None)
        if waiting is not None:
            self._ready.append(Ended(stopped(waiting)))
        flight = self._live.get(key)
        if flight is None:
            return
        flight.stopping = True
        if flight.began:
            self._tell(flight, "stop")
            return
        self._withdraw(flight)
        self._end(flight, stopped(flight.segment))

    def abandon(self, grace: float) -> None:
        """End all segments without an outcome, and wait until they have ended, but not long."""
        for flight in self._flights.values():
            if flight.began:
                self._tell(flight, "abandon")
        waiting = {flight.launch for flight in self._flights.values() if flight.began}
        deadline = time.monotonic() + grace
        while waiting and (left := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except Empty:
                break
            if isinstance(event, Settled):
                waiting.discard(event.launch)

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
        """Send segments while there are slots, each where its trial is warm, if it can be."""
        while self._backlog and len(self._flights) < self.slots:
            segment = self._backlog.pop(next(iter(self._backlog)))
            self._launch(segment, self._placement.choose(self._homes.pop(segment.trial, None)))

    def _launch(self, segment: Segment, where: str | None, relaunches: int = 0) -> None:
        self._launches += 1
        launch = self._launches
        future = self._client.submit(
            dask_worker.run,
            self._freight.for_worker(where, spread=self._placement.capacity > 0),
            ident=self._freight.ident,
            launch=launch,
            segment=segment.to_json(),
            topic=self._topic,
            gpu=self._placement.request.gpu,
            key=f"tuneflow-{segment.trial}-{segment.segment}-{self._nonce}-{launch}",
            pure=False,
            resources=self._demands or None,
            workers=[where] if where else None,
        )
        flight = Flight(launch, segment, future, where, relaunches=relaunches)
        self._flights[launch] = self._live[segment.key] = flight
        if where:
            self._placement.put(launch, where)
        future.add_done_callback(lambda done: self._events.put(Settled(launch, done)))

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
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
        except OSError as error:
            raise self._disconnected() from error
        self._looked = time.monotonic()
        self._freight.limit(self._placement.addresses)
        self._rescue()

    def _rescue(self) -> None:
        """Launch again what was on workers that left.

        Dask could do it, but it forgets what a task demands once the task may leave its worker.
        The latest first: the earliest one was running, and if it was what killed the worker, the
        others are through before it does so again.
        """
        there = self._placement.addresses
        for flight in reversed(list(self._flights.values())):
            if flight.where is not None and flight.where not in there:
                self._relaunch(flight)

    def _drain(self) -> None:
        while True:
            try:
                self._take(self._events.get_nowait())
            except Empty:
                return

    def _take(self, event: Event) -> None:
        if isinstance(event, Heard):
            self._on_message(event.message)
        else:
            self._on_settled(event.launch, event.future)

    def _on_message(self, message: dict[str, Any]) -> None:
        flight = self._flights.get(message["launch"])
        if flight is None:
            self._on_stray(message)
            return
        flight.where, flight.began = message["worker"], True
        self._placement.put(flight.launch, message["worker"])
        self._freight.arrived(message["worker"])
        if flight.stopping:
            # It may be a second try, on another worker.
            self._tell(flight, "stop")
        for data in message["reports"]:
            report = Report.from_json(data)
            self._ready.append(Progress(*flight.segment.key, report, message["worker"]))
        if message["outcome"] is not None:
            self._end(flight, Outcome.from_json(message["outcome"]))

    def _on_stray(self, message: dict[str, Any]) -> None:
        """End a segment that was taken back at the moment when it began."""
        launch, worker = message["launch"], message["worker"]
        if launch in self._withdrawn and message["outcome"] is None:
            later(self._client, lambda: self._send(worker, launch, "abandon"))
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
        else:
            self._end(flight, raised(flight.segment, error))

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

    def _relaunch(self, flight: Flight) -> None:
        relaunches = flight.relaunches + 1
        if relaunches > _RELAUNCHES:
            self._end(flight, died(flight.segment, relaunches))
            return
        self._withdraw(flight)
        self._forget(flight)
        self._launch(flight.segment, self._placement.choose(), relaunches)

    def _end(self, flight: Flight, outcome: Outcome) -> None:
        self._forget(flight)
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
        later(self._client, lambda: self._client.cancel([future]))

    def _tell(self, flight: Flight, how: How) -> None:
        """Tell a segment to end where it is now, once it listens."""
        worker = flight.where
        if worker is None or flight.told == (worker, how):
            return
        flight.told = worker, how

        async def send() -> None:
            while flight.launch in self._flights and flight.told == (worker, how):
                if await self._send(worker, flight.launch, how):
                    return
                await asyncio.sleep(_RETRY)

        later(self._client, send)

    async def _send(self, worker: str, launch: int, how: How) -> bool:
        answers: dict[str, bool] = await self._client.run(
            dask_worker.tell, self._topic, launch, how, workers=[worker]
        )
        return answers[worker]
