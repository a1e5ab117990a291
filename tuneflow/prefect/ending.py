"""End the trials of a flow run that is itself to end; they leave no outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import Any

from tuneflow.remote.segments import controls

_AGAIN = 0.1
"""Seconds until trials are told again: a thread may just have begun with another one."""

_PATIENCE = 5.0
"""Seconds to wait until a cluster has been told."""


def end_here(running: Iterable[Any], keys: Sequence[str]) -> None:
    """End trials that run in threads of this process, and wait until they have.

    Args:
        running: Prefect's futures.
        keys: of the orders; see `tuneflow.remote.orders.segment_key`.
    """
    waiting = {future.wrapped_future for future in running}
    for future in waiting:
        future.cancel()
    while waiting:
        for key in keys:
            controls.tell(key, "abandon")
        _, waiting = futures.wait(waiting, _AGAIN)


def end_on_dask(client: Any, running: Iterable[Any], keys: Sequence[str]) -> None:
    """Tell trials on Dask workers to end; those that wait for a worker never begin.

    Args:
        client: of the cluster.
        running: see `end_here`.
        keys: see `end_here`.
    """
    from tuneflow.executors.dask_cluster import later
    from tuneflow.remote.work import tell_all

    ordered = [future.wrapped_future for future in running]
    actions: list[Callable[[], Any]] = [
        lambda: client.cancel(ordered, force=True),
        lambda: client.run(tell_all, list(keys), on_error="ignore"),
    ]
    told = [later(client, action) for action in actions]
    if not all(done.wait(_PATIENCE) for done in told):
        logging.getLogger(__name__).warning(
            "the Dask cluster did not answer when trials were ended"
        )
