"""Run segments on Dask: on this machine's cores, or on any cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuneflow.errors import ClusterError, MissingDependencyError, SpecError
from tuneflow.executors.base import Executor, Message, check_isolation
from tuneflow.executors.placement import Request
from tuneflow.trial import Segment

try:
    from distributed import Client, SpecCluster, Worker

    from tuneflow.executors import dask_cluster, dask_local, dask_tls
    from tuneflow.executors.dask_session import Session
except ModuleNotFoundError as error:
    if error.name not in ("dask", "distributed"):
        raise
    raise MissingDependencyError("dask", "dask") from error

if TYPE_CHECKING:
    from tuneflow.objective import Objective
    from tuneflow.worker import Job

_GRACE = 5.0
"""Seconds that abandoned trials have to come to their next report."""

_ADAPTIVE = " (or set `parallel`, if the cluster adds workers when there is work)"


@dataclass
class DaskExecutor(Executor):
    """Runs segments as Dask tasks.

    Without an address it starts worker processes on this machine and ends them when it is
    closed; Ctrl-C reaches the driver only. A cluster that is reached by address is left as it
    was found. Workers may join and leave at any time.

    A trial whose worker goes away runs again on another one. When four workers have died with it
    and it has not come to a new level in between, it ends as "lost"; one that was retired, as
    adaptive clusters do, has not died.

    Attributes:
        address: of a scheduler, such as ``tcp://10.0.0.5:8786``, or a `distributed.Client` or
            `distributed.Worker` that is connected to it; None starts a local cluster.
        workers: how many processes a local cluster has.
        threads_per_worker: how many trials each of them runs at once.
        isolation: "thread" runs a trial in its worker; "process" gives it a process of its own,
            which a timeout or a stop can end at any point and whose crash harms nobody else.
        timeout: seconds after which a segment fails, or None.
        resources: what each trial takes: ``cpu`` (threads of a worker), ``gpu`` (the amount of
            the workers' Dask resource ``GPU``, in fractions below 1 or whole) and ``memory``
            (bytes, or a text such as "2GB"; of the Dask resource ``MEMORY`` or the worker's
            memory limit). None: what the study says.
        parallel: how many trials to run at once whatever workers there are now; what a cluster
            that grows with the demand should be told. None: as many as the workers have room for.
        prefetch: how many more segments to send for each running one, at most. As many are sent
            as take 50 ms together, so that workers need not wait for the driver.
        connect_timeout: seconds to wait for the scheduler and for a first worker.
        tls_ca_file: certificate authority of a ``tls://`` address, as a PEM file.
        tls_cert_file: this client's certificate.
        tls_key_file: this client's key.
    """

    runs_meanwhile: ClassVar[bool] = True

    address: Any = None
    workers: int = 2
    threads_per_worker: int = 1
    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None
    resources: Mapping[str, Any] | None = None
    parallel: int | None = None
    prefetch: int = 8
    connect_timeout: float = 10.0
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None

    def __post_init__(self) -> None:
        self._check()
        self._request = self._largest = Request.parse(self.resources)
        self._cluster: SpecCluster | None = None
        self._client: Client | None = None
        self._session: Session | None = None

    @property
    def slots(self) -> int:
        """How many segments may be under way: what the workers that are there have room for."""
        return self._opened.slots

    def open(self, job: Job, objective: Objective) -> None:
        """Connect, or start the local cluster, and make sure that trials can run there."""
        if self.resources is None:
            self._request = Request.parse(job.resources)
        self._largest = self._request.changed(job.most_resources)
        try:
            self._client = self._connect()
            self._check_cluster(self._client)
            self._session = Session(
                self._client,
                self._request,
                self._job(job),
                objective,
                prefetch=self.prefetch,
                parallel=self.parallel,
            )
        except BaseException:
            self.close(abandon=True)
            raise

    def submit(self, segment: Segment) -> None:
        """Send a segment to the worker that holds its trial warm, or to the least loaded one."""
        self._opened.submit(segment)

    def wait(self, timeout: float | None) -> list[Message]:
        """Return everything that was said, waiting for at least one message."""
        return self._opened.wait(timeout)

    def wake(self) -> None:
        """Have `wait` return, with what there is."""
        session = self._session
        if session is not None:
            session.wake()

    def cancel(self, trial: int, segment: int) -> None:
        """Tell a running segment to stop, or take it back before it begins."""
        self._opened.cancel(trial, segment)

    def preempt(self, grace: float) -> None:
        """Have what runs save a checkpoint and end, on whichever worker it is."""
        session = self._session
        if session is not None:
            session.preempt(grace)

    def close(self, *, abandon: bool) -> None:
        """Leave the cluster, and end it if it was started here."""
        session, client, cluster = self._session, self._client, self._cluster
        self._session = self._client = self._cluster = None
        try:
            if session is not None:
                if abandon:
                    session.abandon(_GRACE)
                session.close()
        finally:
            if client is not None:
                client.close(timeout=_GRACE)
            if cluster is not None:
                dask_local.end(cluster, _GRACE)

    def _job(self, job: Job) -> Job:
        timeout = job.timeout if self.timeout is None else self.timeout
        resources = job.resources if self.resources is None else self.resources
        return replace(job, isolation=self.isolation, timeout=timeout, resources=resources)

    @property
    def _opened(self) -> Session:
        if self._session is None:
            raise ClusterError("the executor is not open; call open() first")
        return self._session

    def _connect(self) -> Client:
        given, timeout = self.address, self.connect_timeout
        if given is None:
            self._cluster = dask_local.start(self.workers, self.threads_per_worker, self._largest)
            return dask_cluster.connect(self._cluster.scheduler_address, timeout, None)
        if isinstance(given, Client | Worker):
            # One of our own: a topic has one handler in a client, and theirs stay.
            security = dask_tls.for_client(given.security)
            return dask_cluster.connect(dask_cluster.address_of(given), timeout, security)
        files = self.tls_ca_file, self.tls_cert_file, self.tls_key_file
        return dask_cluster.connect(given, timeout, dask_tls.security(given, *files))

    def _check_cluster(self, client: Client) -> None:
        timeout = 0 if self.parallel else self.connect_timeout
        found = dask_cluster.await_workers(client, timeout, _ADAPTIVE)
        if not found and self.parallel:
            return
        if self._cluster is None:
            dask_cluster.check_versions(client)
        dask_cluster.check_request(self._request, found)
        dask_cluster.check_request(self._largest, found, "the trials that remain")

    def _check(self) -> None:
        if not isinstance(self.address, str | Client | Worker | None):
            problem = f"{self.address!r} is no address"
            raise SpecError("address", problem, "give one such as tcp://127.0.0.1:8786")
        for name in ("workers", "threads_per_worker", "parallel"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpecError(name, f"{value} is too few", "give at least 1")
        if self.prefetch < 0:
            raise SpecError("prefetch", f"{self.prefetch} is below 0", "give 0 or more")
        check_isolation(self.isolation, self.timeout)
        if not self.connect_timeout > 0:
            problem = f"{self.connect_timeout} is no time to wait"
            raise SpecError("connect_timeout", problem, "give seconds above 0")
