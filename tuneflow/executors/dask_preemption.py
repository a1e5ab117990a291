"""What a Dask worker does when it is about to go: its trials get the time to save.

The first trial on a worker attaches this to it, so nothing is set up by whoever starts workers. A
worker goes because

- SIGTERM came to ``dask worker``. With a nanny, Dask has the nanny close, which asks the worker
  process to, and kills it after 8 seconds; a plugin of the nanny's waits for the trials before.
  Without one, Dask ends the process at once; our handler stands before Dask's.
- SIGTERM came to the worker process itself, as where all processes of a machine are signalled.
- its ``--lifetime`` is over. Dask would take the tasks from it and begin them elsewhere at that
  moment, so the trials are told before.
- it is closed or retired: a plugin of the worker's waits for the trials then.
- a notice came; see `tuneflow.preemption`.

In each case it takes no new tasks, its trials save and end, what waits for it goes elsewhere, and
only then does it close.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import psutil
from distributed import Nanny, NannyPlugin, Scheduler, Status, Worker, WorkerPlugin
from distributed.protocol.pickle import dumps

from tuneflow.preemption import Notice, announce, grace_seconds, notices

NAME = "tuneflow-preemption"
"""What the plugins are called."""

ACTION = "tuneflow-preemption"
"""What a worker logs as an event of its own, on the topic of its address, when it is to go."""

_OURS = "tuneflow"
"""What the keys of all our tasks begin with."""

_SLACK = 2.0
"""Seconds more than the grace that are waited for trials, and for an answer about that."""

_LOOK = 0.02
"""Seconds between two looks whether trials have ended."""

_RETIRING = 5.0
"""Seconds that the scheduler has to let a worker go."""

_OPERATION = "tuneflow_leave"
"""What the worker's handler is called."""

logger = logging.getLogger(__name__)
_attached: weakref.WeakKeyDictionary[Worker, Leaving] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def attach(worker: Worker) -> None:
    """Have the trials of a worker told before it goes; harmless again, and from any thread."""
    with _lock:
        if worker in _attached:
            return
        leaving = _attached[worker] = Leaving(worker)
    worker.loop.add_callback(leaving.attach)


def forget_deaths(worker: Worker, key: str) -> None:
    """Have Dask forget that workers have died with a task, which it does not by itself.

    It gives up what workers die of. What gets on is not that: they were preempted without notice,
    say, and for days they may be. Safe from any thread.
    """

    def forget(dask_scheduler: Scheduler) -> None:
        task = dask_scheduler.tasks.get(key)
        if task is not None:
            task.suspicious = 0

    async def send() -> None:
        with _tolerating("the scheduler could not be told"):
            # Defined in here, it travels by value: a scheduler may have another tuneflow.
            await worker.scheduler.run_function(function=dumps(forget), args=dumps(()))

    worker.loop.add_callback(send)


def leave_to_driver(worker: Worker) -> None:
    """Have a worker, which a driver on this machine has started, go when that driver ends it.

    Only SIGTERM, which may come to all processes of the machine, is dealt with here. Call it in the
    main thread.
    """
    with _lock:
        leaving = _attached[worker] = Leaving(worker)
    leaving.handle_sigterm()


class Leaving:
    """How one worker goes; all but `attach` runs in its event loop.

    Args:
        worker: the worker.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._tasks: set[asyncio.Task[None]] = set()
        self._departure: asyncio.Task[None] | None = None
        self._before: Any = None

    async def attach(self) -> None:
        """Stand where the worker can be told to go."""
        worker = self._worker
        worker.handlers[_OPERATION] = self.on_operation
        await worker.plugin_add(_OnClose(self), NAME)
        if threading.current_thread() is threading.main_thread():
            self.handle_sigterm()
            self._await_lifetime()
        notices.hear(self._on_notice)
        address: Any = worker.nanny
        if address:
            with _tolerating("its nanny could not be told"):
                async with worker.rpc(address) as nanny:
                    await nanny.plugin_add(plugin=dumps(_OnNannyClose()), name=NAME)

    def handle_sigterm(self) -> None:
        """Have the trials save before the signal acts; call it in the main thread."""
        self._before = signal.signal(signal.SIGTERM, self._on_signal)

    async def on_operation(self, reason: str) -> str:
        """Answer the nanny once no trial runs here any more."""
        await self.leave(reason)
        return "OK"

    async def leave(self, reason: str) -> None:
        """Let the trials save; return once none runs here any more, or their grace is over."""
        if self._departure is None:
            self._departure = asyncio.create_task(self._leave(reason))
        await asyncio.shield(self._departure)

    async def detach(self) -> None:
        """Let go of a worker that is closed."""
        await self.leave("the worker is closed")
        notices.forget(self._on_notice, self._worker.address)
        with _lock:
            _attached.pop(self._worker, None)
        if self._before is not None and signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, self._before)

    async def _leave(self, reason: str) -> None:
        worker = self._worker
        is_closing = worker.status not in (Status.running, Status.paused)
        # Whoever drives a study learns from it that the worker has not died.
        worker.log_event(worker.address, {"action": ACTION, "reason": reason})
        if not is_closing:
            worker.status = Status.closing_gracefully
        # One of the whole process may say how long its trials have.
        known = notices.of(worker.address)
        notice = announce(reason, known.grace if known else None, worker.address)
        deadline = time.monotonic() + notice.grace + _SLACK
        while self._is_busy():
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_LOOK)
        if not is_closing:
            await self._retire()

    def _is_busy(self) -> bool:
        """Return whether a trial runs here, or its task has not ended yet."""
        state = self._worker.state
        tasks = [*state.executing, *state.long_running]
        has_tasks = any(str(task.key).startswith(_OURS) for task in tasks)
        return has_tasks or not notices.is_over(self._worker.address)

    async def _retire(self) -> None:
        """Have the scheduler give what waits here to other workers, and count no death."""
        worker = self._worker
        with _tolerating("the scheduler could not be told"):
            retiring = worker.scheduler.retire_workers(
                workers=[worker.address], close_workers=False, remove=True
            )
            await asyncio.wait_for(retiring, _RETIRING)

    async def _close(self, reason: str, *, restarts: bool = False) -> None:
        await self.leave(reason)
        # What hangs in a thread may not hold up the end.
        await self._worker.close(
            nanny=not restarts, executor_wait=False, reason=f"{NAME}: {reason}"
        )

    def _on_notice(self, notice: Notice) -> None:
        """Take note of a notice that somebody else has announced; called from any thread."""
        if notice.place is None:
            self._begin(lambda: self._close(notice.reason))

    def _await_lifetime(self) -> None:
        """Go before Dask does it: it would begin the tasks elsewhere without waiting for them."""
        worker = self._worker
        if not worker.lifetime:
            return
        lead = min(grace_seconds(), worker.lifetime / 2)
        age = time.time() - psutil.Process().create_time()
        restarts = bool(worker.lifetime_restart)
        worker.loop.call_later(
            max(worker.lifetime - lead - age, 0.0),
            lambda: self._begin(lambda: self._close("its lifetime is over", restarts=restarts)),
        )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM; a second one acts as it would without us."""
        signal.signal(number, self._before)
        self._begin(lambda: self._close_and_pass_on(number))

    async def _close_and_pass_on(self, number: int) -> None:
        """Go, and then let the signal act as it would without us."""
        reason = f"signal {number}"
        if self._worker.nanny:
            # It ends as the whole or starts another process, as it does without us.
            await self.leave(reason)
        else:
            await self._close(reason)
        if callable(self._before):
            self._before(number, None)
        else:
            signal.raise_signal(number)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start something in the event loop; safe from any thread and in a signal handler."""

        def start() -> None:
            task = asyncio.create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._worker.loop.asyncio_loop.call_soon_threadsafe(start)  # type: ignore[attr-defined]


class _OnClose(WorkerPlugin):
    """Waits for the trials when their worker is closed by whomever."""

    def __init__(self, leaving: Leaving) -> None:
        self._leaving = leaving

    async def teardown(self, worker: Worker) -> None:
        """Called by Dask in the course of a worker's closing."""
        await self._leaving.detach()


class _OnNannyClose(NannyPlugin):
    """Waits for the trials before the nanny ends their process."""

    async def teardown(self, nanny: Nanny) -> None:
        """Called by Dask in the course of a nanny's closing."""
        if not nanny.is_alive() or not nanny.worker_address:
            return
        told = asyncio.create_task(self._tell(nanny))
        deadline = time.monotonic() + grace_seconds() + 2 * _SLACK + _RETIRING
        # Dask keeps connecting for 30 seconds to a process that has meanwhile ended by itself.
        while not told.done() and nanny.is_alive() and time.monotonic() < deadline:
            await asyncio.wait((told,), timeout=_LOOK)
        told.cancel()
        await asyncio.wait((told,))

    async def _tell(self, nanny: Nanny) -> None:
        """Have the worker leave; return when it has."""
        with _tolerating("the worker could not be told"):
            async with nanny.rpc(nanny.worker_address) as worker:
                await getattr(worker, _OPERATION)(reason="the nanny is closed")


@contextmanager
def _tolerating(what: str) -> Iterator[None]:
    """Go on when the other side is gone, which may be the reason for all this."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever comes over a connection that breaks
        logger.debug("%s: %r", what, error)
