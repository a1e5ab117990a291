"""How an objective, and large data with it, gets to the workers once."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from contextlib import suppress
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import dask

from tuneflow.objective.pickling import from_bytes, to_bytes
from tuneflow.worker import Job

if TYPE_CHECKING:
    from distributed import Client, Future

    from tuneflow.objective import Objective

# Dask keeps what a task needs to be run again on the scheduler, and warns above some megabytes.
_SMALL = 1 << 20

# How many studies a worker keeps the objectives of; a driver that is killed does not clean up.
_KEPT = 4


class NotShippedError(LookupError):
    """A worker lacks what it was believed to have."""


class Freight:
    """The driver's side: it sends the objective, and knows which workers have it.

    A small one is a task, which Dask runs again by itself when its copies are lost. A large one
    goes to all workers at once, and around the scheduler's memory of tasks; when every copy is
    lost it is sent again. A worker that has it is sent segments without it: Dask's memory manager
    takes copies that no task waits for away, and would send them anew.

    Args:
        client: of the cluster.
        job: what is the same for all segments.
        objective: the user's code.
    """

    def __init__(self, client: Client, job: Job, objective: Objective) -> None:
        self.ident = uuid.uuid4().hex
        self._client = client
        self._job = job
        self._objective = objective
        self._sent = 0
        self._future: Future[Any] | None = None
        self._holders: set[str] = set()

    def for_worker(self, address: str | None, *, spread: bool) -> Future[Any] | None:
        """Return what a task gets the objective by; None when its worker has it.

        Args:
            address: the worker, if it is known.
            spread: whether there are workers that a large objective can be sent to.
        """
        if address in self._holders:
            return None
        if self._future is None or self._future.status not in ("pending", "finished"):
            self._future = self._send(spread)
        return self._future

    def arrived(self, address: str) -> None:
        """Take note that a worker has it."""
        self._holders.add(address)

    def limit(self, addresses: set[str]) -> None:
        """Take note of which workers there are."""
        self._holders &= addresses

    def _send(self, spread: bool) -> Future[Any]:
        shipment = Shipment.pack(self.ident, self._job, self._objective)
        if spread and shipment.size > _SMALL:
            # A worker may leave at this moment; then it is a task after all.
            with suppress(TimeoutError):
                scattered: Future[Any] = self._client.scatter(shipment, broadcast=True, hash=False)
                return scattered
        self._sent += 1
        key = f"tuneflow-objective-{self.ident}-{self._sent}"
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
            return self._client.submit(_receive, shipment, key=key, pure=False)


class Shipment:
    """A job and its objective, on their way to the workers and kept there.

    It travels as bytes. The first segment in a process unpickles them, so that an error there is
    an error of that segment, and lets go of them, so that large data is in memory once.
    """

    def __init__(self, ident: str, job: dict[str, Any], data: Any) -> None:
        self.ident = ident
        self._job = job
        self._data: Any = data
        self._value: Objective | None = None
        self._lock = threading.Lock()

    @classmethod
    def pack(cls, ident: str, job: Job, objective: Objective) -> Shipment:
        """Pickle an objective, once for all workers. Raises ObjectiveError."""
        return cls(ident, job.to_json(), to_bytes(objective))

    @property
    def size(self) -> int:
        """Its bytes, while it has not been opened."""
        return len(self._data) if self._data is not None else 0

    def open(self) -> tuple[Job, Objective]:
        """Return the job and the objective. Raises ObjectiveError when they cannot be read."""
        with self._lock:
            if self._value is None:
                self._value = from_bytes(self._data)
                self._data = None
        return Job.from_json(self._job), self._value

    def __sizeof__(self) -> int:
        return 256 + self.size

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        with self._lock:
            data = self._data
            if data is None:
                data = to_bytes(self._value)
        frame = PickleBuffer(data) if protocol >= 5 else bytes(data)
        return _arrive, (self.ident, self._job, frame)


_kept: OrderedDict[str, Shipment] = OrderedDict()
_lock = threading.Lock()


def keep(shipment: Shipment | None, ident: str) -> Shipment:
    """Return the shipment, and keep it in this process for segments that come without it.

    Raises:
        NotShippedError: it did not come, and this process has not kept it.
    """
    with _lock:
        found = shipment or _kept.get(ident)
        if found is None:
            raise NotShippedError(ident)
        _kept[ident] = found
        _kept.move_to_end(ident)
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
        return found


def forget(ident: str) -> None:
    """Drop what this process keeps of a study that is over."""
    with _lock:
        _kept.pop(ident, None)


def _arrive(ident: str, job: dict[str, Any], data: Any) -> Shipment:
    with _lock:
        return _kept.get(ident) or Shipment(ident, job, data)


def _receive(shipment: Shipment) -> Shipment:
    return shipment
