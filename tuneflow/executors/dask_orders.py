"""What a driver tells segments on Dask workers: to stop, or to end without an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from contextlib import suppress
from typing import TYPE_CHECKING

from tuneflow.executors import dask_worker
from tuneflow.executors.dask_cluster import later
from tuneflow.executors.dask_flight import Flight

if TYPE_CHECKING:
    from distributed import Client

    from tuneflow.worker import How

# Seconds between two tries to tell a segment to end.
_RETRY = 0.05

# Seconds that a worker which is about to go has for an answer.
_ANSWER = 5.0


class Orders:
    """Tells flights to end, wherever they are.

    Args:
        client: of the cluster.
        topic: the driver's topic, which with the number of a launch names it.
        launches: those that have not ended; no others are told again.
    """

    def __init__(self, client: Client, topic: str, launches: Container[int]) -> None:
        self._client = client
        self._topic = topic
        self._launches = launches

    def tell(self, flight: Flight, how: How) -> None:
        """Tell a segment to end where it is now; again, should a connection break."""
        worker = flight.where
        if worker is None or flight.told == (worker, how):
            return
        flight.told = worker, how

        async def send() -> None:
            while flight.launch in self._launches and flight.told == (worker, how):
                with suppress(OSError):
                    if await self._send(worker, flight.launch, how):
                        return
                await asyncio.sleep(_RETRY)

        later(self._client, send)

    def follow(self, flight: Flight, on_gone: Callable[[int], None]) -> None:
        """Have a segment save on a worker that the scheduler has let go; say when it has ended.

        Args:
            flight: of the segment.
            on_gone: called with the launch when the worker has it no more, or is not there.
        """
        worker, launch = flight.where, flight.launch
        if flight.is_followed or worker is None:
            return
        flight.is_followed = True

        async def ask() -> None:
            while launch in self._launches:
                if not await self._saves(worker, launch):
                    on_gone(launch)
                    return
                await asyncio.sleep(_RETRY)

        later(self._client, ask)

    async def _saves(self, worker: str, launch: int) -> bool:
        # Whatever comes of asking a worker that goes: nobody else would say that it has gone.
        with suppress(Exception):
            return await asyncio.wait_for(self._send(worker, launch, "preempt"), _ANSWER)
        return False

    def tell_once(self, worker: str, launch: int, how: How) -> None:
        """Tell a launch to end if it listens there now."""
        later(self._client, lambda: self._send(worker, launch, how))

    async def _send(self, worker: str, launch: int, how: How) -> bool:
        answers: dict[str, bool] = await self._client.run(
            dask_worker.tell, self._topic, launch, how, workers=[worker]
        )
        return answers[worker]
