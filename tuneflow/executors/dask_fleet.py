"""The segments of one driver that are on a Dask cluster: which, where, and where to next.

What a worker says, and what the tasks come to, is heard by `tuneflow.executors.dask_session`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from distributed import Client, Future

from tuneflow.errors import StorageError
from tuneflow.executors import dask_worker
from tuneflow.executors.base import Ended, Message
from tuneflow.executors.dask_cluster import (
    check_request,
    has_retired,
    later,
    pin,
    places,
    running_workers,
)
from tuneflow.executors.dask_flight import Flight, Pace, died, lost, stopped
from tuneflow.executors.dask_orders import Orders
from tuneflow.executors.dask_requests import Requests
from tuneflow.executors.dask_shipment import Freight
from tuneflow.executors.dask_suspects import Suspects, blamed
from tuneflow.executors.placement import Placement, Request
from tuneflow.trial import Outcome, Segment

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import Job

# As many as Dask's own `allowed-failures`, after which it gives up a task that kills workers.
_DEATHS = 3

# How often a segment may lack the objective: while workers come and go it is sent again and again.
_MISSES = 20

OnSettled: TypeAlias = Callable[[Sequence[int], "Future[Any]"], None]
"""Told the launches of a task that has ended, in a thread of the client's."""

OnGone: TypeAlias = Callable[[int], None]
"""Told a launch that does not run any more where its worker was about to go, likewise."""


class Fleet:
    """Launches segments, each where its trial is warm if it can be, and again if it has to be.

    Args:
        client: of the cluster.
        request: what a trial takes of a worker.
        job: what is the same for all segments.
        objective: the user's code; pickled once, and again only when every copy is lost.
        nonce: tells the driver from all others; its topic has it too.
        topic: the driver's topic.
        on_settled: told of tasks that ended.
        on_gone: told of launches that no worker has any more.
        prefetch: how many segments to have waiting for each slot, at most, while they are short.
        parallel: how many segments to run at once, whatever workers there are; None asks them.

    Attributes:
        flights: the launches that have not ended, by number.
        ready: what is to be said to the driver.
        orders: tells flights to end.
        pace: how long segments take.
    """

    def __init__(
        self,
        client: Client,
        request: Request,
        job: Job,
        objective: Objective,
        *,
        nonce: str,
        topic: str,
        on_settled: OnSettled,
        on_gone: OnGone,
        prefetch: int,
        parallel: int | None,
    ) -> None:
        self.flights: dict[int, Flight] = {}
        self.ready: list[Message] = []
        self.orders = Orders(client, topic, self.flights)
        self.pace = Pace(prefetch)
        self._client = client
        self._nonce = nonce
        self._topic = topic
        self._on_settled = on_settled
        self._on_gone = on_gone
        self._parallel = parallel
        self._freight = Freight(client, job, objective)
        self._requests = Requests(client, request)
        self._placement = Placement(request)
        self._live: dict[tuple[int, int], Flight] = {}
        self._backlog: dict[tuple[int, int], Segment] = {}
        self._suspects = Suspects(self.flights, self._placement)
        self._withdrawn: set[int] = set()
        self._homes: dict[int, str] = {}
        self._launches = self._seen = 0
        self.look_around()
        self._freight.for_worker(None, spread=self._placement.capacity > 0)

    @property
    def ident(self) -> str:
        """What workers know the objective by."""
        return self._freight.ident

    @property
    def slots(self) -> int:
        """How many segments may be under way now."""
        if self._requests.differ and not self._parallel:
            # Not all take as much. What waits for more room than there is counts as that room.
            return max(1, len(self._live) + max(len(self._backlog), self._placement.room))
        return max(1, self._parallel or self._placement.capacity) * (1 + self.pace.waiting)

    def submit(self, segment: Segment) -> None:
        """Take in a segment; see `tuneflow.executors.dask_session.Session.submit`."""
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
        self.look_around()
        if self._placement.places:
            check_request(request, self._placement.places, f"trial {segment.trial}")

    def cancel(self, trial: int, segment: int) -> None:
        """Tell a running segment to stop, or take it back before it begins."""
        key = trial, segment
        waiting = self._backlog.pop(key, None)
        if waiting is not None:
            self._requests.ended(waiting)
            self.ready.append(Ended(stopped(waiting)))
        flight = self._live.get(key)
        if flight is None:
            return
        flight.stopping = True
        if flight.began:
            self.orders.tell(flight, "stop")
            return
        self.withdraw(flight)
        self.end(flight, stopped(flight.segment))

    def clear(self) -> None:
        """Forget everything."""
        self._backlog.clear()
        for flight in self.flights.values():
            self._suspects.forget(flight)
        self.flights.clear()
        self._live.clear()

    def launch_more(self) -> None:
        """Send segments while there are slots, each where its trial is warm, if it can be.

        Short ones wait until half of the slots are free, and go many to a task.
        """
        for flight, where in self._suspects.released():
            self._place(flight, where)
            self._launch([flight])
        if self._requests.differ:
            self._launch_each()
            return
        slots, are_short = self.slots, self.pace.waiting > 0
        free = slots - len(self.flights)
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
        flight = self._announce(segment)
        self._place(flight, self._placement.choose(home, flight.request))
        return flight

    def _announce(self, segment: Segment) -> Flight:
        """Take note of a launch that is yet to be sent."""
        self._launches += 1
        flight = Flight(self._launches, segment, self._requests.of(segment), None)
        self.flights[flight.launch] = self._live[segment.key] = flight
        return flight

    def _place(self, flight: Flight, where: str | None) -> None:
        """Take note of where a segment is to run; None where Dask chooses."""
        flight.where, flight.roams = where, where is None
        if where:
            self._placement.put(flight.launch, where, flight.request)

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
        future.add_done_callback(lambda done: self._on_settled(launches, done))

    def arrived(self, flight: Flight, worker: str) -> None:
        """Take note that a segment runs on a worker."""
        if flight.began and flight.where not in (None, worker):
            # Dask has begun it anew by itself, and so the one before has died or retired.
            flight.deaths += int(not has_retired(self._client, str(flight.where)))
        flight.where, flight.began = worker, True
        self._placement.put(flight.launch, worker, flight.request)
        self._freight.arrived(worker)

    def preempted(self, flight: Flight) -> None:
        """Launch a segment again that has saved and ended, as its worker is about to go."""
        left = [place for place in self._placement.places if place.address != flight.where]
        self._placement.update(left)
        self.relaunch(flight, deaths=0)

    def relaunch(self, flight: Flight, deaths: int = 1) -> None:
        """Launch a segment again, alone, unless too many workers died with it."""
        self.withdraw(flight)
        flight.deaths += deaths
        if flight.stopping:
            self.end(flight, stopped(flight.segment))
        elif flight.deaths > _DEATHS:
            self.end(flight, died(flight.segment, flight.deaths))
        else:
            self._forget(flight)
            again = self._announce(flight.segment)
            again.deaths, again.reports = flight.deaths, flight.reports
            again.avoids, again.misses = flight.avoids, flight.misses
            if again.is_suspect:
                self._suspects.hold(again)
            else:
                choose, request = self._placement.choose, again.request
                where = choose(None, request, apart=again.avoids) or choose(None, request)
                self._place(again, where)
                self._launch([again])

    def retry(self, flight: Flight, error: StorageError) -> None:
        """Launch a segment again whose worker could not use the storage.

        Another worker may be able to. Raises ``error`` when it was tried often enough: no trial is
        given up for a storage that is full or away.
        """
        if flight.deaths >= _DEATHS and not flight.stopping:
            place = flight.where or "a worker"
            raise StorageError(f"trial {flight.segment.trial} cannot run on {place}: {error}")
        if flight.where is not None:
            flight.avoids |= {flight.where}
        self.relaunch(flight, deaths=int(flight.began or flight.alone))

    def resend(self, flight: Flight) -> None:
        """Launch a segment again that lacked the objective, with a new copy of it.

        Its worker has not died of that, but the one with the copy that it waited for may have.
        """
        flight.misses += 1
        if flight.misses > _MISSES and not flight.stopping:
            why = f"its workers did not get the objective in {flight.misses} tries"
            self.withdraw(flight)
            self.end(flight, lost(flight.segment, why))
        else:
            self.relaunch(flight, deaths=0)

    def forget_copies(self) -> None:
        """Take note that no worker has the objective, whatever was believed."""
        self._freight.limit(set())

    def end(self, flight: Flight, outcome: Outcome) -> None:
        """Say how a segment ended."""
        self._forget(flight)
        self._requests.ended(flight.segment)
        if not outcome.ended:
            # No worker says it, so what had been reported by then is not in it yet.
            outcome = replace(outcome, reports=tuple(flight.reports))
        self.ready.append(Ended(outcome))
        if outcome.status == "paused" and flight.where:
            self._homes[outcome.trial] = flight.where
        self.pace.note(outcome)

    def end_stray(self, launch: int, worker: str, *, has_outcome: bool) -> None:
        """End a segment that was taken back at the moment when it began."""
        if launch in self._withdrawn and not has_outcome:
            self.orders.tell_once(worker, launch, "abandon")
        self._withdrawn.discard(launch)

    def _forget(self, flight: Flight) -> None:
        del self.flights[flight.launch]
        del self._live[flight.segment.key]
        self._suspects.forget(flight)
        self._placement.free(flight.launch)

    def withdraw(self, flight: Flight) -> None:
        """Take a launch back, so that it does not begin, or is ended if it just does."""
        self._withdrawn.add(flight.launch)
        future = flight.future
        if future is None:
            return
        if flight.alone:
            later(self._client, lambda: self._client.cancel([future]))
        elif flight.where is not None:
            self.orders.tell_once(flight.where, flight.launch, "abandon")

    def look_around(self) -> None:
        """Take note of workers that joined, left or take no more tasks. Raises OSError.

        Dask tells of them on its topic "all", which no client must listen to: among the events
        there are some that cannot be serialized, and the connection breaks with the first.
        """
        there = set(self._client.nthreads())
        usable = running_workers(self._client) & there
        if usable != self._placement.addresses:
            found = places(self._client)
            self._placement.update(place for place in found if place.address in usable)
        self._freight.limit(there)
        self._rescue(there)
        self._unblock(there - usable)

    def _rescue(self, there: set[str]) -> None:
        """Launch again what was on workers that left.

        Dask could do it, but it forgets what a task demands once the task may leave its worker.
        The latest first: the earliest one was running, and if it was what killed the worker, the
        others are through before it does so again.
        """
        left = {flight.where for flight in self.flights.values() if flight.where} - there
        retired = {worker for worker in left if has_retired(self._client, worker)}
        flights = [flight for flight in self.flights.values() if flight.where in left]
        guilty = blamed(flight for flight in flights if flight.where not in retired)
        for flight in reversed(flights):
            if flight.began and flight.where in retired:
                # It may yet be there, and save what it has come to.
                self.orders.follow(flight, self._on_gone)
            else:
                self.relaunch(flight, deaths=int(flight.launch in guilty))

    def _unblock(self, leaving: set[str]) -> None:
        """Move what waits at workers that take no more tasks, or behind a long segment.

        What has waited since the last look is behind one that turns out to be long.
        """
        seen, self._seen = self._seen, self._launches
        for flight in list(self.flights.values()):
            if flight.began:
                self._pin(flight)
                continue
            is_old = flight.launch <= seen and not (flight.is_suspect or flight.avoids)
            is_behind = self._placement.should_leave(flight.where, flight.request)
            if flight.where in leaving or (is_old and is_behind):
                self.relaunch(flight, deaths=0)

    def _pin(self, flight: Flight) -> None:
        """Have Dask leave it to us where a segment runs that it chose a worker for.

        It would begin it elsewhere at the moment when its worker retires, and not wait for it.
        """
        if flight.roams and flight.where and flight.future is not None:
            flight.roams = False
            pin(self._client, flight.future.key, flight.where)
