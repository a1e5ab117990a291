"""A Prefect server as people start it, and what it says of flow runs."""

from __future__ import annotations

import inspect
import os
import socket
import urllib.request
from contextlib import contextmanager, suppress
from unittest import mock

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.asyncutils import run_coro_as_sync

from tests.clusters import process, until

STARTING = 90.0
"""Seconds that a server may take to be there, on a machine that has much else to do."""


@contextmanager
def server(folder):
    """The API's URL of a `prefect server` in a process of its own, gone afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_UI_API_URL": url}
    environment.pop("PREFECT_API_URL", None)
    command = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
    said = folder / "server.log"
    with (
        said.open("w") as log,
        process(*command, env=environment, stdout=log, stderr=log) as started,
    ):
        until(lambda: answers(url) or started.poll() is not None, STARTING, 0.2)
        assert started.poll() is None, said.read_text()[-3000:]
        yield url


@contextmanager
def using(url):
    """Have Prefect in this process, and in those it starts, use a server."""
    with (
        mock.patch.dict(os.environ, PREFECT_API_URL=url),
        temporary_settings({PREFECT_API_URL: url}),
    ):
        yield


@contextmanager
def without():
    """Have Prefect in this process start a server for the time being, as it does by itself."""
    with mock.patch.dict(os.environ):
        os.environ.pop("PREFECT_API_URL", None)
        with temporary_settings(restore_defaults={PREFECT_API_URL}):
            yield


def tell_everything():
    """Have the server told what is still to be told; without it Prefect would wait at the end."""

    async def drain():
        for drained in (APILogWorker.drain_all(), EventsWorker.drain_all()):
            if inspect.isawaitable(drained):
                await drained

    run_coro_as_sync(drain())


def end_temporary():
    """End the server that Prefect has started by itself, once it has been told everything."""
    tell_everything()
    SubprocessASGIServer().stop()


def free_port():
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answers(url):
    """Whether a server is there."""
    with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
        return answer.status == 200
    return False


def flow_runs(name):
    """Return the runs of a flow, the latest one last."""
    with get_client(sync_client=True) as client:
        flow = client.read_flow_by_name(name)
        found = client.read_flow_runs(flow_run_filter=None)
    runs = [run for run in found if run.flow_id == flow.id]
    return sorted(runs, key=lambda run: run.created)


def task_runs(flow_run_id, count):
    """Return the states of so many task runs by name, once the server has learnt how they ended.

    It learns of task runs by events, a moment later.
    """

    def ended():
        with get_client(sync_client=True) as client:
            chosen = FlowRunFilter(id={"any_": [flow_run_id]})
            runs = client.read_task_runs(flow_run_filter=chosen, limit=200)
        done = [run for run in runs if run.state is not None and run.state.is_final()]
        return done if len(done) >= count else None

    runs = until(ended, 30, 0.2)
    return {run.name: run.state_name for run in runs}


def logs(flow_run_id, word):
    """Return what a flow run and its tasks have logged, once a word is among it."""

    def said():
        with get_client(sync_client=True) as client:
            chosen = LogFilter(flow_run_id={"any_": [flow_run_id]})
            found = client.read_logs(log_filter=chosen, limit=200)
        text = "\n".join(log.message for log in found)
        return text if word in text else None

    return until(said, 30, 0.2)
