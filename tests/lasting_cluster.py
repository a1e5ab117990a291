"""A Dask cluster at an address that stays, whose parts are killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

from distributed import Client

from tests.airflow_system import free_port
from tests.clusters import await_workers, until


class LastingCluster:
    """A ``dask scheduler`` and ``dask worker`` processes, each with a nanny.

    Args:
        folder: where they put what they need.
        workers: how many.
        threads: of each worker.
        environment: the environment variables of all of them.
    """

    def __init__(self, folder, workers, threads, environment):
        self.folder = folder
        self.workers = workers
        self.threads = threads
        self.environment = environment
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._processes = []

    def start(self):
        """Start everything, and wait until all workers are there."""
        listening = ("--host", "127.0.0.1", "--no-dashboard")
        self._launch("scheduler", "--port", self.port, *listening)
        threads = ("--nthreads", self.threads, "--local-directory", self.folder)
        for _ in range(self.workers):
            self._launch("worker", self.address, *listening, *threads)
        self.await_workers()

    def _launch(self, kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, options)]
        started = subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(started)

    def await_workers(self):
        """Wait until all workers are there: the nanny of one that died starts another."""
        await_workers(self.address, self.workers)

    def kill(self):
        """End everything, as a power cut would."""
        while self._processes:
            one = self._processes.pop()
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()

    def restart(self):
        """Kill the scheduler; its workers end with it. Start them all again."""
        self.kill()
        self.start()

    def tasks(self):
        """Return the keys of the tasks that run, or wait for a thread, by worker."""
        with Client(self.address, set_as_default=False) as client:
            return {worker: list(keys) for worker, keys in client.processing().items()}

    def pid_of(self, worker):
        """Return the process of a worker."""
        with Client(self.address, set_as_default=False) as client:
            return client.run(os.getpid, workers=[worker])[worker]


@contextmanager
def lasting_cluster(folder, workers=2, threads=20, **environment):
    """A cluster that is up, and gone afterwards."""
    cluster = LastingCluster(folder, workers, threads, {**os.environ, **environment})
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


def gone(pid):
    """Wait until a process has ended."""
    until(lambda: not _exists(pid))


def _exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
