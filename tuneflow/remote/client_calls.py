"""What a connection asks of the scheduler; all of it runs in the client's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from distributed import Client, Future

Work: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""What a worker calls with an order's JSON."""

_TELLING = 5.0
"""Seconds that workers have to hear that an order is cancelled."""


async def submit(
    client: Client,
    key: str,
    work: Work,
    data: dict[str, Any],
    needs: dict[str, Any],
) -> Future[Any]:
    """Submit an order, or attach to it where it is under way."""
    from distributed import fire_and_forget

    scheduler: Any = client.scheduler
    state = (await scheduler.get_task_status(keys=[key]))[key]
    if state == "erred":
        # Somebody still holds it, and it would end with the same error at once.
        with suppress(KeyError):
            await scheduler.retry(keys=[key], client=client.id)
    _let_go(client, key, state)
    # Both are sent in one turn of the loop, so that the task cannot end in between: the scheduler
    # keeps for ever what is wanted by nobody in particular and has ended already.
    future = client.submit(work, data, key=key, pure=False, **needs)
    if state != "memory":
        fire_and_forget(future)
    return future


def _let_go(client: Client, key: str, state: str | None) -> None:
    """Forget an end of the order that this client knows of, where it is to begin again."""
    held = client.futures.get(key)
    if held is None or held.status == "pending":
        return
    if state is None or held.status == "cancelled":
        del client.futures[key]
    elif held.status == "error":
        held.retry()


async def cancel(client: Client, keys: list[str]) -> None:
    """Cancel orders for everybody, and have those that run end."""
    from distributed import Future

    from tuneflow.remote import work

    scheduler: Any = client.scheduler
    at = await scheduler.processing(workers=None)
    await client.cancel([Future(key, client) for key in keys], force=True)
    told = [
        client.run(work.tell, key, "abandon", workers=[worker], on_error="ignore")
        for worker, running in at.items()
        for key in keys
        if key in running
    ]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*told, return_exceptions=True), _TELLING)
