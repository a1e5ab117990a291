"""Give orders to a Dask cluster, and let go of it: they go on without us."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tuneflow.errors import ClusterError, MissingDependencyError, TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.jsonio import loads
from tuneflow.remote.orders import DriverOrder, SegmentOrder, topic_of
from tuneflow.trial import Report

if TYPE_CHECKING:
    from distributed import Client, Future

_CLOSING = 5.0
"""Seconds to wait for the scheduler when letting go of it."""

Work: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""What a worker calls with an order's JSON."""

_TELLING = 5.0
"""Seconds that workers have to hear that an order is cancelled."""

Hear: TypeAlias = Callable[[Report], None]
"""Told reports of an order, in a thread of the connection's; it must return at once."""


class SchedulerLostError(ClusterError):
    """The Dask scheduler went away: orders can be given again when it is back."""


class OrderCancelledError(ClusterError):
    """Somebody cancelled the order; it can be given again."""


@dataclass(frozen=True)
class ClusterAddress:
    """Where a Dask scheduler is, and how to speak to it; JSON without secrets.

    Attributes:
        address: such as ``tcp://10.0.0.5:8786``.
        tls_ca_file: certificate authority of a ``tls://`` address, as a PEM file.
        tls_cert_file: the client's certificate.
        tls_key_file: the client's key.
        timeout: seconds to wait for the scheduler and for a first worker.
        dashboard: the URL of the cluster's dashboard, where the scheduler's own is not the one
            that people can open.
    """

    address: str
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    timeout: float = 10.0
    dashboard: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**data)


class Cluster:
    """A connection to a cluster that can run the trials of a kind; a context manager.

    Its methods may be called from any thread but that of an event loop, for they wait for the
    scheduler. Once it is lost it stays so: make a new one.

    Args:
        address: where.
        request: what a trial takes of a worker.

    Raises:
        ClusterError: it cannot be reached, has no worker, runs other versions of tuneflow, or
            can never run such a trial.
        MissingDependencyError: Dask is not installed here.
    """

    def __init__(self, address: ClusterAddress, request: Request) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._hearing: dict[str, dict[str, Hear]] = {}
        self._client = connect(address)
        self._stream = self._client.scheduler_comm
        try:
            self._demands = _checked(self._client, address, request)
        except BaseException:
            self.close()
            raise

    @property
    def dashboard(self) -> str:
        """The URL of the cluster's dashboard, or an empty string."""
        if self.address.dashboard is not None:
            return self.address.dashboard
        try:
            return self._client.dashboard_link or ""
        except (KeyError, OSError):
            return ""

    @property
    def is_lost(self) -> bool:
        """Whether the connection broke, or was closed."""
        # A client connects again by itself, and then knows nothing of its futures and topics.
        client = self._client
        return client.status != "running" or client.scheduler_comm is not self._stream

    def submit(self, order: SegmentOrder | DriverOrder) -> Future[Any]:
        """Have an order carried out, whatever becomes of this connection.

        An order that is under way already is not begun again: the future is of that one. One
        that has failed or was cancelled is.

        Returns:
            A future; see `result`.

        Raises:
            SchedulerLostError: the scheduler is out of reach.
        """
        with self._reaching():
            future: Future[Any] = self._client.sync(
                _submit, self._client, order.key, _work(order), order.to_json(), self._needs(order)
            )
        return future

    def result(self, future: Future[Any]) -> dict[str, Any]:
        """Return the JSON that an order was answered with, waiting for it if need be.

        Raises:
            SchedulerLostError: the scheduler went away; how the order ends is not known.
            OrderCancelledError: somebody cancelled it.
            ClusterError: its workers died again and again, or could not carry it out.
            TuneflowError: what the worker raised, such as an ObjectiveError.
        """
        from distributed import CancelledError

        try:
            with self._reaching():
                answer: dict[str, Any] | None = future.result()
        except CancelledError as error:
            if self.is_lost or _is_disconnected(error):
                raise self._lost() from error
            message = f"the order was cancelled on the Dask cluster at {self.address.address}"
            raise OrderCancelledError(message) from error
        except TuneflowError:
            raise
        except Exception as error:
            raise _explained(error) from error
        if answer is None:
            # So a closed client ends what waits for its futures.
            raise self._lost()
        return answer

    def cancel(self, keys: Sequence[str]) -> None:
        """End orders, at their next report, without an outcome: they can be given again.

        Raises SchedulerLostError when the scheduler is out of reach.
        """
        with self._reaching():
            self._client.sync(_cancel, self._client, list(keys))

    def listen(self, key: str, hear: Hear) -> None:
        """Tell of what an order reports, twice a second at most, until `unlisten`.

        Raises SchedulerLostError when the scheduler is out of reach.
        """
        topic = topic_of(key)
        with self._lock, self._reaching():
            is_known = topic in self._hearing
            self._hearing.setdefault(topic, {})[key] = hear
            if not is_known:
                self._client.subscribe_topic(topic, self._on_event)

    def unlisten(self, key: str) -> None:
        """Tell no more of an order's reports."""
        topic = topic_of(key)
        with self._lock:
            self._hearing.get(topic, {}).pop(key, None)
            if not self._hearing.get(topic, True):
                del self._hearing[topic]
                with suppress(SchedulerLostError), self._reaching():
                    self._client.unsubscribe_topic(topic)

    def close(self) -> None:
        """Let go of the cluster; what it was asked to do goes on."""
        self._client.close(timeout=_CLOSING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _needs(self, order: SegmentOrder | DriverOrder) -> dict[str, Any]:
        """Return what Dask is to know of an order's task."""
        if isinstance(order, SegmentOrder):
            return {"resources": self._demands or None}
        # It gives its thread back at once, and so need not wait behind trials.
        return {"priority": 1}

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say in one sentence that the scheduler is out of reach."""
        from distributed.comm.core import CommClosedError

        if self.is_lost:
            raise self._lost()
        try:
            yield
        except CommClosedError as error:
            raise self._lost() from error
        except (OSError, AttributeError, RuntimeError) as error:
            # A client that is closed meanwhile lacks parts of itself.
            if self.is_lost:
                raise self._lost() from error
            raise

    def _lost(self) -> SchedulerLostError:
        return SchedulerLostError(
            f"the connection to the Dask scheduler at {self.address.address} is lost; what was "
            "ordered can be ordered again when it is back"
        )

    def _on_event(self, event: tuple[float, str]) -> None:
        said = loads(event[1])
        with self._lock:
            hear = self._hearing.get(topic_of(said["key"]), {}).get(said["key"])
        if hear is not None:
            hear(Report.from_json(said["report"]))


def connect(address: ClusterAddress) -> Client:
    """Return a client of a scheduler, whatever its cluster can run.

    Raises:
        ClusterError: the scheduler does not answer in time.
        MissingDependencyError: Dask is not installed here.
    """
    try:
        from tuneflow.executors import dask_cluster
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise MissingDependencyError("dask", "dask") from error
    files = address.tls_ca_file, address.tls_cert_file, address.tls_key_file
    return dask_cluster.connect(address.address, address.timeout, dask_cluster.security(*files))


def _checked(client: Client, address: ClusterAddress, request: Request) -> dict[str, float]:
    """Return what to ask of Dask for a trial, once it is clear that trials can run there."""
    from tuneflow.executors import dask_cluster

    found = dask_cluster.await_workers(client, address.timeout)
    dask_cluster.check_versions(client)
    dask_cluster.check_request(request, found)
    return dask_cluster.demands(client, request)


def _work(order: SegmentOrder | DriverOrder) -> Work:
    """Return what carries out an order on a worker."""
    if isinstance(order, SegmentOrder):
        from tuneflow.remote.work import run_segment_order

        return run_segment_order
    from tuneflow.remote.driver import drive_order

    return drive_order


async def _submit(
    client: Client,
    key: str,
    work: Work,
    data: dict[str, Any],
    needs: dict[str, Any],
) -> Future[Any]:
    """Submit an order, or attach to it where it is under way; runs in the client's loop."""
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


async def _cancel(client: Client, keys: list[str]) -> None:
    """Cancel orders for everybody, and have those that run end; runs in the client's loop."""
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


def _is_disconnected(error: BaseException) -> bool:
    reason = getattr(error, "reason", "")
    return reason in ("scheduler-connection-lost", "scheduler-restart")


def _explained(error: Exception) -> ClusterError:
    """Return what went wrong on a worker, other than what tuneflow says of it, as a sentence."""
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        deaths = error.allowed_failures + 1
        return ClusterError(
            f"{deaths} workers died with it, the last one at {error.last_worker.address}; "
            "look for a crash of the training code, or for too little memory"
        )
    return ClusterError(f"its worker could not run it: {type(error).__name__}: {error}")
