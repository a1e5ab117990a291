"""A Dask cluster of processes on this machine, which ends with the process that starts it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

from distributed import Nanny, Scheduler, SpecCluster

from tuneflow.errors import ClusterError
from tuneflow.executors import dask_worker
from tuneflow.executors.devices import VARIABLE, share, visible_devices
from tuneflow.executors.placement import Request

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


class _Workers(SpecCluster):
    """Worker processes of this machine, whose nannies stay whatever becomes of the processes.

    Dask looks 15 seconds after each death whether there is a worker of that name, and if not, ends
    its nanny. A worker that has died twice meanwhile, or takes long to start, never came back.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        update: Any = super(SpecCluster, self)._update_worker_status
        update(op, msg)


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


def start(workers: int, threads: int, request: Request) -> SpecCluster:
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
    made: Callable[..., SpecCluster] = _Workers
    # Starting it also unblocks Ctrl-C, in a thread whose mask the first worker would inherit.
    resource_tracker.ensure_running()
    try:
        return _uninterrupted(
            lambda: made(
                workers=specs, scheduler=scheduler, name="tuneflow", silence_logs=logging.CRITICAL
            )
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Dask workers could be started on this machine: {error}") from error


def _uninterrupted(begin: Callable[[], SpecCluster]) -> SpecCluster:
    """Start a cluster to its end even if Ctrl-C comes, and close it then: half a one cannot be."""
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(begin)
        try:
            return starting.result()
        except KeyboardInterrupt:
            starting.result().close(timeout=_CLOSING)
            raise


def end(cluster: SpecCluster, timeout: float) -> None:
    """End a cluster that was started here; by force the workers that take too long.

    A worker that hangs, is stopped, or is just being started again must not hold up the end.
    """
    nannies = list(cluster.workers.values())
    try:
        cluster.close(timeout=timeout)
    except TimeoutError:
        for pid in filter(None, (nanny.pid for nanny in nannies)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # What is left then ends with this process.
        with suppress(TimeoutError):
            cluster.close(timeout=timeout)


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
