"""A Dask client that connects whatever the scheduler says at that moment, and connects once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distributed import Client

_LOST = "scheduler-connection-lost"
"""Why a future is cancelled then; Dask's own word for it."""

_TRIES = 3
"""How often a greeting that was garbled is tried again."""


class _GreetedClient(Client):
    """A client that is closed, and not left to the garbage collector, if its greeting fails.

    Dask expects the scheduler's greeting to come alone. What the scheduler says to all clients at
    that moment, such as which tasks were cancelled, may come along with it.

    It does not connect again by itself once its connection is lost: with that have gone all its
    futures and all topics that it listens to, so whoever has it must begin anew in any case. And
    Dask cannot close a client that is connecting.
    """

    async def _reconnect(self) -> None:
        self.scheduler_comm = None
        for state in self.futures.values():
            state.cancel(reason=_LOST, msg="the connection to the scheduler is lost")
        self.futures.clear()

    async def _start(self, *args: Any, **kwargs: Any) -> Any:
        start: Any = super()._start
        try:
            return await start(*args, **kwargs)
        except AssertionError as error:
            await self._close()
            raise ConnectionAbortedError("the scheduler said more than a greeting") from error


def is_lost(client: Client, stream: object) -> bool:
    """Return whether a client is without the connection that it had, its ``scheduler_comm``."""
    return client.status != "running" or client.scheduler_comm is not stream


def new_client(address: str, **options: Any) -> Client:
    """Return a client of a scheduler; arguments and errors are those of `distributed.Client`."""
    make: Callable[..., Client] = _GreetedClient
    for _ in range(_TRIES):
        with suppress(ConnectionAbortedError):
            return make(address, **options)
    return make(address, **options)
