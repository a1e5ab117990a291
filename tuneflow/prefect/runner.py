"""Where the trials of a flow run: threads of its process, or a Dask cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tuneflow.errors import ClusterError, MissingDependencyError, SpecError
from tuneflow.executors.devices import visible_devices
from tuneflow.executors.placement import Request
from tuneflow.prefect.server import has_server
from tuneflow.remote.seen import check_seen, check_storage

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")

_WAIT = 10.0
"""Seconds to wait for a Dask scheduler, and for a first worker."""


def make_runner(given: Any, max_concurrent: int | None, request: Request) -> Any:
    """Return the task runner of a flow.

    Args:
        given: None for threads, the address of a Dask scheduler, or a task runner.
        max_concurrent: how many trials may run at once, or None.
        request: what each takes of this machine.

    Raises:
        SpecError: it is nothing of the kind.
        MissingDependencyError: prefect-dask is not installed.
    """
    if given is None:
        return ThreadPoolTaskRunner(max_workers=max_concurrent or _room(request))
    if isinstance(given, str):
        return _dask_runner(given)
    if isinstance(given, type) and issubclass(given, TaskRunner):
        return given()
    if isinstance(given, TaskRunner):
        return given
    raise SpecError(
        "task_runner",
        f"{given!r} runs no tasks",
        "give a Prefect task runner, or the address of a Dask scheduler, such as tcp://host:8786",
    )


def is_dask(runner: Any) -> bool:
    """Return whether a task runner runs tasks on Dask."""
    if type(runner).__module__.partition(".")[0] == "prefect":
        return False
    try:
        from prefect_dask import DaskTaskRunner
    except ModuleNotFoundError:
        return False
    return isinstance(runner, DaskTaskRunner)


def check_runner(runner: Any) -> None:
    """Raise SpecError for a task runner that cannot work with the server that there is."""
    if is_dask(runner) and not has_server():
        raise SpecError(
            "task_runner",
            "Dask workers cannot reach the temporary server that Prefect starts where "
            "PREFECT_API_URL is not set",
            "start one with: prefect server start, and set PREFECT_API_URL",
        )


def check_room(request: Request) -> None:
    """Raise ClusterError when this machine can never run such a trial."""
    if request.gpu > len(visible_devices() if request.gpu else ()):
        raise ClusterError(
            f"each trial asks for {request.gpu:g} GPU, and this machine shows "
            f"{len(visible_devices())}"
        )


def prepare_dask(runner: Any, url: str, request: Request) -> dict[str, float]:
    """Make sure that the cluster of a task runner can run the trials of a study.

    Args:
        runner: a started ``DaskTaskRunner``; it starts its cluster now if it has one of its own.
        url: the study's URL.
        request: what a trial takes of a worker.

    Returns:
        The Dask resources that each trial asks for.

    Raises:
        SpecError: no worker can see such a storage.
        ClusterError: the cluster is out of reach, has no worker, or can never run such a trial.
        StudyNotFoundError: a worker does not see the study.
    """
    from tuneflow.executors import dask_cluster

    check_storage(url)
    client = _client(runner)
    found = dask_cluster.await_workers(client, _WAIT)
    dask_cluster.check_versions(client)
    dask_cluster.check_request(request, found)
    check_seen(_Workers(client), url)
    return dask_cluster.demands(client, request)


def demands_on(client: Any, request: Request, who: str) -> dict[str, float]:
    """Return the Dask resources that such a trial asks for.

    Raises ClusterError, about ``who``, when no worker has them.
    """
    from tuneflow.executors import dask_cluster

    found = dask_cluster.places(client)
    if found:
        dask_cluster.check_request(request, found, who)
    return dask_cluster.demands(client, request)


class _Workers:
    """Asks the workers of a client's cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def ask(self, function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """Return what a function says on each of them."""
        answers: dict[str, Any] = self._client.run(function, *args, on_error="ignore")
        return answers


def _client(runner: Any) -> Any:
    """Return the client of a task runner, once it is clear that its scheduler answers."""
    from tuneflow.executors import dask_cluster

    if runner.address:
        # Dask itself waits for half a minute, and then says so in a page of traceback.
        security = runner.client_kwargs.get("security")
        dask_cluster.connect(runner.address, _WAIT, security).close()
    try:
        return runner.client
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the task runner's Dask cluster cannot be used: {error}") from error


def _dask_runner(address: str) -> Any:
    if not address.startswith(_SCHEMES):
        fix = "write tcp://host:8786"
        raise SpecError("task_runner", f"{address!r} is not the address of a Dask scheduler", fix)
    try:
        from prefect_dask import DaskTaskRunner
    except ModuleNotFoundError as error:
        raise MissingDependencyError("prefect-dask", "prefect") from error
    return DaskTaskRunner(address=address)


def _room(request: Request) -> int:
    """Return how many trials this machine can run at once."""
    rooms = [(os.cpu_count() or 1) // request.threads]
    if request.gpu:
        rooms.append(int(len(visible_devices()) / request.gpu + 1e-6))
    return max(1, min(rooms))
