"""Reach a Dask cluster and know its workers.

Everything that can be wrong with a cluster becomes one sentence here, a `ClusterError`.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from distributed import Client, Security, Worker
from distributed.comm.addressing import parse_address, parse_host_port

from tuneflow.errors import ClusterError
from tuneflow.executors import dask_preemption, dask_tls, dask_worker
from tuneflow.executors.dask_client import new_client
from tuneflow.executors.placement import Place, Request

_MEMORY = "worker-restart-memory"
"""The topic on which nannies log the workers that they end because of their memory."""


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


def running_workers(client: Client) -> set[str]:
    """Return the addresses of the workers that take tasks: neither paused nor about to go."""
    scheduler: Any = client.scheduler
    return set(client.sync(scheduler.ncores_running, workers=None))


def pin(client: Client, key: Any, address: str) -> None:
    """Have a task run on one worker and nowhere else."""
    scheduler: Any = client.scheduler
    later(client, lambda: scheduler.set_restrictions(worker={key: [address]}))


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
    """Return whether a worker that is gone left in an orderly way, or was to: it did not die.

    A nanny that ends a worker for its memory does so by a signal, as those do who preempt it.
    """
    events: Sequence[tuple[float, Any]] = client.get_events(address)
    actions: dict[Any, Any] = {}
    joined = 0.0
    for at, event in events:
        if event.get("action") == "add-worker":
            # Another one had the address before.
            actions, joined = {}, at
        actions[event.get("action")] = event
    ended: Sequence[tuple[float, Any]] = client.get_events(_MEMORY)
    if any(event["worker"] == address and at >= joined for at, event in ended):
        return False
    removal = actions.get("remove-worker", {})
    return dask_preemption.ACTION in actions or bool(removal.get("expected"))


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
