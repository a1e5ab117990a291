"""Give orders to a Dask cluster, and let go of it: they go on without us."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tuneflow.errors import ClusterError, MissingDependencyError, TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.jsonio import loads
from tuneflow.remote import client_calls
from tuneflow.remote.client_calls import Work
from tuneflow.remote.orders import DriverOrder, SegmentOrder, beginning_of, topic_of
from tuneflow.remote.task_errors import explained, is_disconnected
from tuneflow.trial import Report

if TYPE_CHECKING:
    from distributed import Client, Future, WorkerPlugin

_CLOSING = 5.0
"""Seconds to wait for the scheduler when letting go of it."""

ADAPTIVE = " (or set `parallel`, if the cluster adds workers when there is work)"
"""What helps a driver where there is no worker yet."""

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
        request: what a trial takes of a worker. With None it is not asked whether there is a
            worker, and what it can run: for drivers only.
        otherwise: what helps beside starting a worker where there is none.

    Raises:
        ClusterError: it cannot be reached, has no worker, runs other versions of tuneflow, or
            can never run such a trial.
        MissingDependencyError: Dask is not installed here.
    """

    def __init__(
        self, address: ClusterAddress, request: Request | None, *, otherwise: str = ""
    ) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._hearing: dict[str, dict[str, Hear]] = {}
        self._client = connect(address)
        self._stream = self._client.scheduler_comm
        try:
            self._request = request
            self._demands = self._check(request, otherwise) if request else {}
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
        from tuneflow.executors import dask_client

        return dask_client.is_lost(self._client, self._stream)

    def submit(self, order: SegmentOrder | DriverOrder) -> Future[Any]:
        """Have an order carried out, whatever becomes of this connection.

        An order that is under way already is not begun again: the future is of that one. One
        that has failed or was cancelled is.

        Returns:
            A future; see `result`.

        Raises:
            SchedulerLostError: the scheduler is out of reach.
            ClusterError: no worker has the resources that the order names.
        """
        with self._reaching():
            future: Future[Any] = self._client.sync(
                client_calls.submit,
                self._client,
                order.key,
                _work(order),
                order.to_json(),
                self._needs(order),
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
            if self.is_lost or is_disconnected(error):
                raise self._lost() from error
            message = f"the order was cancelled on the Dask cluster at {self.address.address}"
            raise OrderCancelledError(message) from error
        except TuneflowError:
            raise
        except Exception as error:
            raise explained(error) from error
        if answer is None:
            # So a closed client ends what waits for its futures.
            raise self._lost()
        return answer

    def cancel(self, keys: Sequence[str]) -> None:
        """End orders, at their next report, without an outcome: they can be given again.

        Raises SchedulerLostError when the scheduler is out of reach.
        """
        with self._reaching():
            self._client.sync(client_calls.cancel, self._client, list(keys))

    def states(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the states that Dask's scheduler has of tasks, of those that it knows.

        Raises SchedulerLostError when the scheduler is out of reach.
        """
        with self._reaching():
            scheduler: Any = self._client.scheduler
            found: dict[str, str | None] = self._client.sync(
                scheduler.get_task_status, keys=list(keys)
            )
        return {key: state for key, state in found.items() if state is not None}

    def running(self, prefix: str) -> dict[str, str]:
        """Return the tasks that workers have, and whose keys begin so: key to worker.

        Raises SchedulerLostError when the scheduler is out of reach.
        """
        with self._reaching():
            processing: Mapping[str, Sequence[str]] = self._client.processing()
        return {
            key: worker
            for worker, keys in processing.items()
            for key in keys
            if str(key).startswith(prefix)
        }

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Return what a function says on each worker; a worker that leaves meanwhile is left out.

        It must return at once. Raises SchedulerLostError when the scheduler is out of reach.
        """
        with self._reaching():
            answers: dict[str, Any] = self._client.run(function, *args, on_error="ignore")
        return answers

    def install(self, plugin: WorkerPlugin) -> None:
        """Give a plugin to all workers that there are, and that will be.

        Raises:
            SchedulerLostError: the scheduler is out of reach.
            ClusterError: a worker cannot set it up.
        """
        try:
            with self._reaching():
                self._client.register_plugin(plugin)
        except ClusterError:
            raise
        except Exception as error:
            raise explained(error) from error

    @contextmanager
    def announced(self, order: DriverOrder) -> Iterator[threading.Event]:
        """Yield what is set as soon as a driver says that it has begun to run trials.

        Raises SchedulerLostError when the scheduler is out of reach.
        """
        begun, topic = threading.Event(), beginning_of(order.key)
        with self._reaching():
            self._client.subscribe_topic(topic, lambda _: begun.set())
        try:
            yield begun
        finally:
            with suppress(SchedulerLostError), self._reaching():
                self._client.unsubscribe_topic(topic)

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

    def _check(self, request: Request, otherwise: str) -> dict[str, float]:
        """Return what to ask of Dask for a trial, once it is clear that trials can run there."""
        from tuneflow.executors import dask_cluster

        client = self._client
        found = dask_cluster.await_workers(client, self.address.timeout, otherwise)
        dask_cluster.check_versions(client)
        dask_cluster.check_request(request, found)
        return dask_cluster.demands(client, request)

    def _needs(self, order: SegmentOrder | DriverOrder) -> dict[str, Any]:
        """Return what Dask is to know of an order's task."""
        if isinstance(order, SegmentOrder):
            return {"resources": self._demands_of(order) or None}
        # It gives its thread back at once, and so need not wait behind trials.
        return {"priority": 1}

    def _demands_of(self, order: SegmentOrder) -> dict[str, float]:
        """Return what to ask of Dask for a segment; ClusterError when no worker has it."""
        if order.resources is None or self._request is None:
            return self._demands
        from tuneflow.executors import dask_cluster

        request = self._request.changed(order.resources)
        found = dask_cluster.places(self._client)
        if found:
            dask_cluster.check_request(request, found, f"trial {order.trial}")
        return dask_cluster.demands(self._client, request)

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
        from tuneflow.executors import dask_cluster, dask_tls
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise MissingDependencyError("dask", "dask") from error
    files = address.tls_ca_file, address.tls_cert_file, address.tls_key_file
    security = dask_tls.security(address.address, *files)
    return dask_cluster.connect(address.address, address.timeout, security)


def _work(order: SegmentOrder | DriverOrder) -> Work:
    """Return what carries out an order on a worker."""
    if isinstance(order, SegmentOrder):
        from tuneflow.remote.work import run_segment_order

        return run_segment_order
    from tuneflow.remote.driver import drive_order

    return drive_order
