"""One connection to each Dask cluster, shared by all triggers of a triggerer process.

A trigger's coroutine never blocks: connecting, submitting and reading results happen in threads,
and the end of a Dask task wakes the event loop. A connection belongs to no event loop, so that
triggers of several loops can share it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from tuneflow.errors import ClusterError
from tuneflow.executors.placement import Request
from tuneflow.remote.cluster import Cluster, ClusterAddress
from tuneflow.remote.orders import DriverOrder, SegmentOrder
from tuneflow.trial import Report

if TYPE_CHECKING:
    import distributed

_LINGER = 30.0
"""Seconds that a connection nobody uses is kept for the next trigger."""

_PAUSE = 2.0
"""Seconds between two tries to reach a cluster that is away."""


@asynccontextmanager
async def shared_cluster(
    address: ClusterAddress, request: Request, *, patience: float = 0.0
) -> AsyncIterator[SharedCluster]:
    """Use the connection to a cluster; it is opened for the first user, and kept for the next.

    Args:
        address: where the scheduler is.
        request: what a trial takes of a worker.
        patience: seconds to go on trying while the cluster cannot be used.

    Raises:
        ClusterError: it cannot be used; see `tuneflow.remote.cluster.Cluster`.
    """
    connection = await _reach(address, request, time.monotonic() + patience)
    try:
        yield SharedCluster(connection.opening.result())
    finally:
        _pool.leave(connection)


class SharedCluster:
    """A `tuneflow.remote.cluster.Cluster` for coroutines; get one from `shared_cluster`.

    Each method may raise `SchedulerLostError`. Nothing is known of the orders then: enter
    `shared_cluster` again, with patience, and submit the same ones.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def dashboard(self) -> str:
        """The URL of the cluster's dashboard, or an empty string."""
        return self._cluster.dashboard

    async def submit(self, order: SegmentOrder | DriverOrder) -> distributed.Future[Any]:
        """Have an order carried out; one that is under way already is not begun again."""
        return await asyncio.to_thread(self._cluster.submit, order)

    async def result(self, future: distributed.Future[Any]) -> dict[str, Any]:
        """Wait for the JSON that an order is answered with; the errors are `Cluster.result`'s."""
        await _ended(future)
        return await asyncio.to_thread(self._cluster.result, future)

    async def cancel(self, keys: Sequence[str]) -> None:
        """End orders, at their next report, without an outcome."""
        await asyncio.to_thread(self._cluster.cancel, keys)

    async def listen(self, key: str, hear: Callable[[Report], None]) -> None:
        """Tell of what an order reports, in the event loop, until `unlisten`."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._cluster.listen, key, lambda said: _later(loop, hear, said))

    async def unlisten(self, key: str) -> None:
        """Tell no more of an order's reports."""
        await asyncio.to_thread(self._cluster.unlisten, key)


async def _ended(future: distributed.Future[Any]) -> None:
    """Wait until a Dask task has ended, or the connection."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    future.add_done_callback(lambda _: _later(loop, ended.set))
    await ended.wait()


def _later(loop: asyncio.AbstractEventLoop, call: Callable[..., Any], *args: Any) -> None:
    """Call something in a loop, unless that was closed by one who did not want to wait."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)


class _Connection:
    """A connection that is being opened, open, or lost."""

    def __init__(self, address: ClusterAddress, request: Request, opening: Future[Cluster]) -> None:
        self.address = address
        self.request = request
        self.opening = opening
        self.users = 0
        self.expiry: threading.Timer | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it is open, or may come to be."""
        if not self.opening.done():
            return True
        return self.opening.exception() is None and not self.opening.result().is_lost

    def close(self) -> None:
        """Let go of the cluster."""
        if self.opening.exception() is None:
            self.opening.result().close()


class _Pool:
    """The connections of this process, counted by their users; its methods take no time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(thread_name_prefix="tuneflow-connection")
        self._connections: dict[tuple[ClusterAddress, Request], _Connection] = {}

    def enter(self, address: ClusterAddress, request: Request) -> _Connection:
        """Return the usable connection, or one that begins to open."""
        with self._lock:
            found = self._connections.get((address, request))
            if found is None or not found.is_usable:
                opening = self._threads.submit(Cluster, address, request)
                found = _Connection(address, request, opening)
                self._connections[address, request] = found
            found.users += 1
            if found.expiry is not None:
                found.expiry.cancel()
            return found

    def leave(self, connection: _Connection) -> None:
        """Take note that a user is gone."""
        with self._lock:
            connection.users -= 1
            if connection.users:
                return
            linger = _LINGER if connection.is_usable else 0.0
            connection.expiry = threading.Timer(linger, self._expire, [connection])
            connection.expiry.daemon = True
            connection.expiry.start()

    def _expire(self, connection: _Connection) -> None:
        """Close a connection that nobody has come to use meanwhile."""
        key = connection.address, connection.request
        with self._lock:
            if connection.users:
                return
            if self._connections.get(key) is connection:
                del self._connections[key]
        connection.close()


_pool = _Pool()


async def _reach(address: ClusterAddress, request: Request, deadline: float) -> _Connection:
    """Enter the connection, trying until the deadline."""
    while True:
        try:
            return await _enter(address, request)
        except ClusterError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_PAUSE)


async def _enter(address: ClusterAddress, request: Request) -> _Connection:
    connection = _pool.enter(address, request)
    try:
        # Others wait for the same: being cancelled must not cancel it for them.
        await asyncio.shield(asyncio.wrap_future(connection.opening))
    except BaseException:
        _pool.leave(connection)
        raise
    return connection
