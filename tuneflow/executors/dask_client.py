"""A Dask client that connects whatever the scheduler says at that moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from distributed import Client

_TRIES = 3
"""How often a greeting that was garbled is tried again."""


class _GreetedClient(Client):
    """A client that is closed, and not left to the garbage collector, if its greeting fails.

    Dask expects the scheduler's greeting to come alone. What the scheduler says to all clients at
    that moment, such as which tasks were cancelled, may come along with it.
    """

    async def _start(self, *args: Any, **kwargs: Any) -> Any:
        start: Any = super()._start
        try:
            return await start(*args, **kwargs)
        except AssertionError as error:
            await self._close()
            raise ConnectionAbortedError("the scheduler said more than a greeting") from error


def is_lost(client: Client, stream: object) -> bool:
    """Return whether a client is without the connection that it had, its ``scheduler_comm``.

    Dask connects anew by itself, but with it have gone all futures, and all topics listened to.
    """
    return client.status != "running" or client.scheduler_comm is not stream


def new_client(address: str, **options: Any) -> Client:
    """Return a client of a scheduler; arguments and errors are those of `distributed.Client`."""
    make: Callable[..., Client] = _GreetedClient
    for _ in range(_TRIES):
        with suppress(ConnectionAbortedError):
            return make(address, **options)
    return make(address, **options)
