"""Reach a Dask cluster, or start one on this machine; know its workers.

Everything that can be wrong with a cluster becomes one sentence here, a `ClusterError`.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from distributed import Client, Nanny, Scheduler, Security, SpecCluster, Worker
from distributed.comm.addressing import parse_address, parse_host_port

from tuneflow.errors import ClusterError
from tuneflow.executors import dask_tls, dask_worker
from tuneflow.executors.dask_client import new_client
from tuneflow.executors.devices import VARIABLE, share, visible_devices
from tuneflow.executors.placement import Place, Request

_CLOSING = 5.0
"""Seconds that workers have to end before they are killed."""


class LocalNanny(Nanny):
    """A nanny whose worker process does not run the driver's script once more.

    A process that Python spawns imports the main module of its parent. Workers do not need it,
    for what it defines travels by value, and a script without the usual
    ``if __name__ == "__main__"`` would start a cluster in each of them.
    """

    async def instantiate(self) -> Any:
        """Start the worker's process."""
        # A process inherits this: until its preload ignores Ctrl-C, nothing else does.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with _main_module.hidden():
            return await super().instantiate()


class _MainModule:
    """Hides where the main module came from while processes are spawned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved: dict[str, Any] = {}

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide it meanwhile; any number of users at once."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._hide()
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    vars(sys.modules["__main__"]).update(self._saved)

    def _hide(self) -> None:
        names = vars(sys.modules["__main__"])
        self._saved = {key: names[key] for key in ("__spec__", "__file__") if key in names}
        names["__spec__"] = None
        names.pop("__file__", None)


_main_module = _MainModule()


def start_local(workers: int, threads: int, request: Request) -> SpecCluster:
    """Start worker processes on this machine, which only this machine can reach.

    Each declares the Dask resources ``MEMORY`` and, where trials ask for GPUs, ``GPU``, and sees
    its share of the devices only. The processes end with this one, however it ends.

    Raises:
        ClusterError: they cannot be started, or GPUs are asked for and there are none.
    """
    devices: list[tuple[tuple[str, ...], float]] = [((), 0.0)] * workers
    if request.gpu:
        visible = visible_devices()
        if not visible:
            raise ClusterError("each trial asks for GPUs, and this machine shows none")
        devices = share(visible, workers)
    specs = {
        f"worker-{number}": {"cls": LocalNanny, "options": _options(workers, threads, *held)}
        for number, held in enumerate(devices)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": "127.0.0.1",
            "port": 0,
            "dashboard": False,
            "dashboard_address": "127.0.0.1:0",
        },
    }
    # Starting it also unblocks Ctrl-C, in a thread whose mask the first worker would inherit.
    resource_tracker.ensure_running()
    try:
        return _uninterrupted(
            lambda: SpecCluster(
                workers=specs, scheduler=scheduler, name="tuneflow", silence_logs=logging.CRITICAL
            )
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Dask workers could be started on this machine: {error}") from error


def _uninterrupted(start: Callable[[], SpecCluster]) -> SpecCluster:
    """Start a cluster to its end even if Ctrl-C comes, and close it then: half a one cannot be."""
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start)
        try:
            return starting.result()
        except KeyboardInterrupt:
            starting.result().close(timeout=_CLOSING)
            raise


def _options(workers: int, threads: int, devices: Sequence[str], gpu: float) -> dict[str, Any]:
    from distributed.worker_memory import parse_memory_limit

    memory = parse_memory_limit("auto", 1, workers, logger=logging.getLogger(__name__))
    resources = {"MEMORY": memory or 0.0}
    env = {}
    if gpu:
        resources["GPU"] = gpu
        env[VARIABLE] = ",".join(devices)
    return {
        "host": "127.0.0.1",
        "nthreads": threads,
        "memory_limit": memory,
        "resources": resources,
        "env": env,
        "dashboard": False,
        "preload": [dask_worker.__name__],
        # Dask looks at every thread a hundred times a second, for a dashboard that is not there.
        "config": {"distributed.worker.profile.enabled": False},
        "silence_logs": logging.CRITICAL,
    }


def connect(address: str, timeout: float, security: Security | None) -> Client:
    """Connect to a scheduler.

    Raises ClusterError when that takes longer than ``timeout``, or certificates are not as they
    should be.
    """
    _check_address(address)
    dask_tls.check(address, security)
    try:
        return new_client(
            address, timeout=timeout, security=security, set_as_default=False, name="tuneflow"
        )
    except (OSError, ValueError, TypeError, CancelledError) as error:
        refusal = dask_tls.refusal(address, error)
        if refusal is not None:
            message = f"the Dask scheduler at {address} closes the connection: {refusal}"
            raise ClusterError(message) from error
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise ClusterError(
            f"no Dask scheduler answers at {address} within {timeout:g} s ({reason}); start one "
            "with: dask scheduler"
        ) from error


def _check_address(address: str) -> None:
    """Raise ClusterError for what Dask would try, and then try to end, for half a minute."""
    try:
        if not address.startswith("inproc://"):
            parse_host_port(parse_address(address)[1])
    except ValueError as error:
        raise ClusterError(
            f"'{address}' is no address of a Dask scheduler ({error}); give one such as "
            "tcp://10.0.0.5:8786"
        ) from error


def address_of(client: Client | Worker) -> str:
    """Return the address of the scheduler that a client, or a worker, is connected to."""
    return str(getattr(client.scheduler, "address", "an unknown address"))


def await_workers(client: Client, timeout: float, otherwise: str = "") -> list[Place]:
    """Return the workers of a cluster, once there is one; an adaptive cluster starts one for it.

    Raises ClusterError when there is none after ``timeout`` seconds; with 0 it does not wait. It
    says what can be done ``otherwise`` than starting one.
    """
    if timeout and not client.nthreads():
        try:
            with _demand(client):
                client.wait_for_workers(1, timeout)
        except TimeoutError as error:
            raise ClusterError(
                f"the Dask cluster at {address_of(client)} has no worker; start one with: "
                f"dask worker {address_of(client)}{otherwise}"
            ) from error
    return places(client)


@contextmanager
def _demand(client: Client) -> Iterator[None]:
    """Have a task wait for a worker meanwhile: a cluster adapts to what waits, not to clients."""
    future = client.submit(bool, key=f"tuneflow-demand-{uuid.uuid4().hex}", pure=False)
    try:
        yield
    finally:
        future.release()


def places(client: Client) -> list[Place]:
    """Return what the workers of a cluster have."""
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return [_place(address, worker) for address, worker in workers.items()]


def _place(address: str, worker: Mapping[str, Any]) -> Place:
    resources = worker["resources"]
    memory = resources.get("MEMORY") or worker["memory_limit"] or 0
    return Place(address, worker["nthreads"], resources.get("GPU", 0), int(memory))


def demands(client: Client, request: Request) -> dict[str, float]:
    """Return the Dask resources to ask for with each task.

    ``MEMORY`` only where a worker declares it: others are held to their memory limit by our own
    bookkeeping.
    """
    wanted = {"GPU": request.gpu} if request.gpu else {}
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if request.memory and any("MEMORY" in worker["resources"] for worker in workers):
        wanted["MEMORY"] = request.memory
    return wanted


def check_versions(client: Client) -> None:
    """Raise ClusterError unless every worker can run what this process sends it."""
    ours = dask_worker.versions()
    for address, theirs in client.run(dask_worker.versions, on_error="return").items():
        if isinstance(theirs, OSError):
            # It has left meanwhile.
            continue
        if isinstance(theirs, BaseException):
            raise ClusterError(
                f"the worker {address} cannot run tuneflow ({theirs}); install there: "
                f"pip install 'tuneflow[dask]=={ours['tuneflow']}'"
            )
        for name, version in ours.items():
            if theirs[name] != version:
                raise ClusterError(
                    f"the worker {address} has {name} {theirs[name]}, and this process has "
                    f"{version}; install the same version on both"
                )


def has_retired(client: Client, address: str) -> bool:
    """Return whether a worker that is gone left in an orderly way, and did not die."""
    events: Sequence[tuple[float, Any]] = client.get_events(address)
    removals = [event for _, event in events if event.get("action") == "remove-worker"]
    return bool(removals) and bool(removals[-1].get("expected"))


def check_request(request: Request, found: Sequence[Place], who: str = "a trial") -> None:
    """Raise ClusterError when no worker can ever run a trial of this kind."""
    if any(place.room_for(request) for place in found):
        return
    there = "; ".join(str(place) for place in found[:4])
    more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
    raise ClusterError(
        f"no worker can give {who} {request}: {there}{more}. Ask for less, or start workers "
        "with more threads or with resources declared, such as: --resources 'GPU=2'"
    )


def later(client: Client, action: Callable[[], Any]) -> threading.Event:
    """Send something to the cluster whatever comes of it; the event tells when it is done."""
    done = threading.Event()

    async def send() -> None:
        # Called in the client's own loop, its methods return coroutines.
        try:
            await action()
        except Exception as error:  # noqa: BLE001 - a worker that is gone needs no telling
            logging.getLogger(__name__).debug("not delivered: %s", error)
        finally:
            done.set()

    if client.loop is not None:
        client.loop.add_callback(send)
    return done
