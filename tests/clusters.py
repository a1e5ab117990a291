"""Dask clusters made of processes, as people start them: ``dask scheduler``, ``dask worker``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from distributed import Client

PATIENCE = 30.0


@contextmanager
def process(*command, **options):
    """A Python process of its own group that is gone afterwards, with all it has started."""
    started = subprocess.Popen(
        [sys.executable, *map(str, command)], text=True, start_new_session=True, **options
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        for stream in (started.stdout, started.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def scheduler(folder, *more):
    """The address of a `dask scheduler` in a process of its own, and the process."""
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", *more)
    listing = folder / "scheduler.json"
    command = ("-m", "distributed.cli.dask_scheduler", *options, "--scheduler-file", listing)
    with process(*command, stderr=subprocess.DEVNULL) as started:
        text = until(lambda: listing.exists() and listing.read_text())
        yield text.split('"address": "', 1)[1].split('"', 1)[0], started


def worker(address, *options, env=None):
    """A `dask worker` in a process of its own, with one thread unless told otherwise."""
    fixed = ("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
    command = ("-m", "distributed.cli.dask_worker", address, *fixed, *options)
    return process(*command, stderr=subprocess.DEVNULL, env=env)


@contextmanager
def cluster(workers=2, threads=1):
    """The address of a cluster, once all its workers are there."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address, _ = stack.enter_context(scheduler(folder))
        options = ("--nthreads", threads, "--local-directory", folder)
        for _ in range(workers):
            stack.enter_context(worker(address, *options))
        await_workers(address, workers)
        yield address


def await_workers(address, count):
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, PATIENCE)


def until(condition, seconds=PATIENCE, pause=0.01):
    """Return what ``condition`` gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)
    return found


def family(pid):
    """Return the processes that a process has started, and those that they have."""
    return psutil.Process(pid).children(recursive=True)


def alive(processes):
    """Return those that run; one that ended and was not waited for does not."""
    return [one for one in processes if is_alive(one)]


def is_alive(one):
    with suppress(psutil.NoSuchProcess):
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE
    return False
