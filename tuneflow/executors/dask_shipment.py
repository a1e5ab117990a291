"""How an objective, and large data with it, gets to the workers once."""

from __future__ import annotations

import threading
from contextlib import suppress
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import cloudpickle
import dask

from tuneflow.errors import ObjectiveError
from tuneflow.worker import Job

if TYPE_CHECKING:
    from distributed import Client, Future

    from tuneflow.objective import Objective

# Dask keeps what a task needs to be run again on the scheduler, and warns above some megabytes.
_SMALL = 1 << 20


def ship(client: Client, shipment: Shipment, key: str, *, spread: bool) -> Future[Any]:
    """Send a shipment to the cluster; the future is what tasks get it by.

    A small one is a task, which Dask runs again by itself when its copies are lost. A large one
    goes to all workers at once, and around the scheduler's memory of tasks; when every worker
    that has it is lost, so is the future.

    Args:
        client: of the cluster.
        shipment: what is sent.
        key: of the task.
        spread: whether there are workers that a large one can be sent to.
    """
    if spread and shipment.size > _SMALL:
        # A worker may leave at this moment; then it is a task after all.
        with suppress(TimeoutError):
            spread_out: Future[Any] = client.scatter(shipment, broadcast=True, hash=False)
            return spread_out
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}):
        return client.submit(_receive, shipment, key=key, pure=False)


class Shipment:
    """A job and its objective, on their way to the workers and kept there.

    It travels as bytes. The first segment in a process unpickles them, so that an error there is
    an error of that segment, and lets go of them, so that large data is in memory once.
    """

    def __init__(self, job: dict[str, Any], data: Any) -> None:
        self._job = job
        self._data: Any = data
        self._value: Objective | None = None
        self._lock = threading.Lock()

    @classmethod
    def pack(cls, job: Job, objective: Objective) -> Shipment:
        """Pickle an objective, once for all workers. Raises ObjectiveError."""
        try:
            return cls(job.to_json(), cloudpickle.dumps(objective, protocol=5))
        except Exception as error:
            raise ObjectiveError(
                f"the objective cannot be sent to the workers: {_name(error)}; open files, locks "
                "and connections inside the function that uses them"
            ) from error

    @property
    def size(self) -> int:
        """Its bytes, while it has not been opened."""
        return len(self._data) if self._data is not None else 0

    def open(self) -> tuple[Job, Objective]:
        """Return the job and the objective. Raises ObjectiveError when they cannot be read."""
        with self._lock:
            if self._value is None:
                self._value = self._load()
                self._data = None
        return Job.from_json(self._job), self._value

    def _load(self) -> Objective:
        try:
            objective: Objective = cloudpickle.loads(self._data)
        except Exception as error:
            raise ObjectiveError(
                f"the objective cannot be loaded on the worker: {_name(error)}; install there "
                "what the driver has installed"
            ) from error
        return objective

    def __sizeof__(self) -> int:
        return 256 + self.size

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        with self._lock:
            data = self._data
            if data is None:
                data = cloudpickle.dumps(self._value, protocol=5)
        return Shipment, (self._job, PickleBuffer(data) if protocol >= 5 else bytes(data))


def _receive(shipment: Shipment) -> Shipment:
    return shipment


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
