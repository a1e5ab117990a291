"""What workers died of: who is to blame of those that were there, and how to tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tuneflow.executors.dask_flight import Flight
from tuneflow.executors.placement import Placement


def blamed(flights: Iterable[Flight]) -> set[int]:
    """Return for which launches the death of their worker counts.

    Of those at one worker they are the ones that have seen the most deaths already. The others
    were beside them.
    """
    known = list(flights)
    most = {flight.where: flight.deaths for flight in sorted(known, key=lambda one: one.deaths)}
    return {flight.launch for flight in known if flight.deaths == most[flight.where]}


class Suspects:
    """Holds suspects back, see `Flight.is_suspect`, so that no worker has two of them.

    When a worker dies with one of them it is clear then which one it was.

    Args:
        flights: the launches that have not ended, by number.
        placement: where they are.
    """

    def __init__(self, flights: Mapping[int, Flight], placement: Placement) -> None:
        self._flights = flights
        self._placement = placement
        self._held: dict[int, Flight] = {}

    def hold(self, flight: Flight) -> None:
        """Hold one back until `released` yields it."""
        self._held[flight.launch] = flight

    def forget(self, flight: Flight) -> None:
        """Take note that one has ended, held or not."""
        self._held.pop(flight.launch, None)

    def released(self) -> Iterator[tuple[Flight, str | None]]:
        """Yield those that can go now, and the worker to send each to; None where Dask chooses.

        The caller places each before it takes the next.
        """
        if not self._held:
            return
        others = (one for one in self._flights.values() if one.launch not in self._held)
        taken = {flight.where for flight in others if flight.is_suspect}
        for flight in list(self._held.values()):
            choose, request = self._placement.choose, flight.request
            avoids = flight.avoids if choose(None, request, apart=flight.avoids) else set()
            where = choose(None, request, apart=taken | avoids)
            if where is None and taken:
                return
            del self._held[flight.launch]
            taken.add(where)
            yield flight, where
