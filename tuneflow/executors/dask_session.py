"""One driver's work on one Dask cluster: segments out, messages back.

Reports and outcomes come as events on a topic of the driver's own, in order, a few milliseconds
after they were made. The future of a task only tells that no more will come.
"""

from __future__ import annotations

import time
import uuid
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
    Settled,
    WorkerJoined,
    WorkerLeft,
    died,
    is_disconnected,
    lost,
    raised,
    stopped,
)
from tuneflow.executors.dask_shipment import Shipment, ship
from tuneflow.executors.placement import Placement, Request
from tuneflow.trial import Outcome, Report, Segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import How, Job

# As many as Dask's own `allowed-failures`, after which it gives up a task that kills workers.
_RELAUNCHES = 3

# Below this many seconds a segment, the way to the worker and back is what takes the time.
_SHORT = 0.05


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
        self._job = job
        self._objective = objective
        self._prefetch = prefetch
        self._parallel = parallel
        self._nonce = uuid.uuid4().hex[:12]
        self._demands = demands(client, request)
        self._placement = Placement(request)
        self._flights: dict[int, Flight] = {}
        self._live: dict[tuple[int, int], Flight] = {}
        self._backlog: dict[tuple[int, int], Segment] = {}
        self._withdrawn: dict[int, tuple[int, int]] = {}
        self._homes: dict[int, str] = {}
        self._launches = 0
        self._seconds: float | None = None
        self._ready: list[Message] = []
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._shipment = self._ship()
        client.subscribe_topic(self._topic, self._hear)
        client.subscribe_topic("all", self._hear_cluster)
        self._placement.update(places(client))

    @property
    def slots(self) -> int:
        """How many segments may be under way now."""
        slots = self._parallel or self._placement.capacity
        if self._seconds is not None and self._seconds < _SHORT:
            slots *= 1 + self._prefetch
        return max(1, slots)

    def submit(self, segment: Segment) -> None:
        """Have a segment run as soon as a slot is free."""
        if segment.key not in self._live:
            self._backlog.setdefault(segment.key, segment)
            self._launch_more()

    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said, waiting for at least one message."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            try:
                self._take(self._events.get(timeout=left))
            except Empty:
                break
            self._drain()
            self._launch_more()
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
            self._client.unsubscribe_topic("all")
        self._backlog.clear()
        self._flights.clear()
        self._live.clear()

    @property
    def _topic(self) -> str:
        return f"tuneflow-{self._nonce}"

    def _ship(self) -> Future[Any]:
        shipment = Shipment.pack(self._job, self._objective)
        return ship(self._client, shipment, f"{self._topic}-objective-{self._launches}")

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
            self._shipment,
            launch,
            segment.to_json(),
            self._topic,
            self._placement.request.gpu,
            key=f"tuneflow-{segment.trial}-{segment.segment}-{self._nonce}-{launch}",
            pure=False,
            resources=self._demands or None,
            workers=[where] if where else None,
            # Dask forgets what a task demands once it may look beyond its worker.
            allow_other_workers=bool(where) and not self._demands,
        )
        flight = Flight(launch, segment, future, where, relaunches=relaunches)
        self._flights[launch] = self._live[segment.key] = flight
        if where:
            self._placement.put(launch, where)
        future.add_done_callback(lambda done: self._events.put(Settled(launch, done)))

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        self._events.put(Heard(event[1]))

    def _hear_cluster(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        if message.get("action") == "add-worker":
            self._events.put(WorkerJoined())
        elif message.get("action") == "remove-worker":
            self._events.put(WorkerLeft(message["worker"]))

    def _drain(self) -> None:
        while True:
            try:
                self._take(self._events.get_nowait())
            except Empty:
                return

    def _take(self, event: Event) -> None:
        match event:
            case Heard(message):
                self._on_message(message)
            case Settled(launch, future):
                self._on_settled(launch, future)
            case WorkerJoined():
                self._placement.update(places(self._client))
            case WorkerLeft(address):
                self._on_left(address)

    def _on_message(self, message: dict[str, Any]) -> None:
        flight = self._flights.get(message["launch"])
        if flight is None:
            self._on_stray(message)
            return
        flight.where, flight.began = message["worker"], True
        self._placement.put(flight.launch, message["worker"])
        if "outcome" in message:
            self._end(flight, Outcome.from_json(message["outcome"]))
            return
        if flight.stopping:
            # It may have missed the first word, or be a second try on another worker.
            self._tell(flight, "stop")
        if "report" in message:
            report = Report.from_json(message["report"])
            self._ready.append(Progress(*flight.segment.key, report, message["worker"]))

    def _on_stray(self, message: dict[str, Any]) -> None:
        """End a segment that was taken back at the moment when it began."""
        key = self._withdrawn.pop(message["launch"], None)
        if key is not None and key not in self._live and "outcome" not in message:
            worker = message["worker"]
            later(self._client, lambda: self._send(worker, key, "abandon"))

    def _on_settled(self, launch: int, future: Future[Any]) -> None:
        """Act on the end of a task that has said no outcome; the usual one is forgotten by now."""
        flight = self._flights.get(launch)
        if flight is None:
            return
        if future.status == "error":
            self._end(flight, raised(flight.segment, future.exception()))
        elif future.status == "finished":
            self._end(flight, lost(flight.segment, "its worker gave it up"))
        else:
            self._on_cancelled(flight, future)

    def _on_cancelled(self, flight: Flight, future: Future[Any]) -> None:
        """Launch again what lost the objective that it needs, with a new copy of it."""
        if self._client.status != "running" or is_disconnected(future):
            raise ClusterError(
                f"the connection to the Dask scheduler at {address_of(self._client)} is "
                "lost; resume the study when it is back"
            )
        if self._shipment.status not in ("finished", "pending"):
            self._shipment = self._ship()
        self._relaunch(flight)

    def _on_left(self, address: str) -> None:
        """Launch again what was on a worker that went away, where Dask does not do it itself."""
        self._placement.remove(address)
        if self._demands:
            stranded = [flight for flight in self._flights.values() if flight.where == address]
            for flight in stranded:
                self._relaunch(flight)

    def _relaunch(self, flight: Flight) -> None:
        relaunches = flight.relaunches + flight.began
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
        if outcome.ended:
            seconds = outcome.ended - outcome.started
            mean = self._seconds
            self._seconds = seconds if mean is None else mean + 0.2 * (seconds - mean)

    def _forget(self, flight: Flight) -> None:
        del self._flights[flight.launch]
        del self._live[flight.segment.key]
        self._placement.free(flight.launch)

    def _withdraw(self, flight: Flight) -> None:
        self._withdrawn[flight.launch] = flight.segment.key
        future = flight.future
        later(self._client, lambda: self._client.cancel([future]))

    def _tell(self, flight: Flight, how: How) -> None:
        """Tell a segment that runs to end, once for each worker that it runs at."""
        worker = flight.where
        if worker is None or flight.told == (worker, how):
            return
        flight.told = worker, how

        async def send() -> None:
            if not await self._send(worker, flight.segment.key, how):
                # It had not come far enough to listen; it is told again when it reports.
                flight.told = None

        later(self._client, send)

    async def _send(self, worker: str, key: tuple[int, int], how: How) -> bool:
        answers: dict[str, bool] = await self._client.run(
            dask_worker.tell, self._job.storage, *key, how, workers=[worker]
        )
        return answers[worker]
