"""A Python objective in a thread of the worker, suspended while its report is dealt with."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from tuneflow.errors import ObjectiveError
from tuneflow.objective import output
from tuneflow.objective.failures import failure_of
from tuneflow.objective.forms import drive
from tuneflow.objective.session import Session, TrialStopped, add_live, bind, remove_live
from tuneflow.objective.stream import Context, Ended, Event, Objective, RawReport, Stream
from tuneflow.trial import Failure


@dataclass(frozen=True, eq=False)
class PythonObjective:
    """A Python function, generator function or class.

    Attributes:
        function: what is called; see `tuneflow.objective.forms`.
        env: environment variables to set. In a thread they are set for the whole process.
        timeout: the most seconds a segment may take, or None.
    """

    function: Callable[..., Any]
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ObjectiveError(
                f"the objective is {self.function!r}; it must be a function or a class"
            )

    @property
    def name(self) -> str:
        """The name of the function or class."""
        return getattr(self.function, "__name__", None) or type(self.function).__name__

    def open(self, context: Context) -> Stream:
        """Start it in a thread."""
        return ThreadStream(self, context)

    def isolated(self) -> Objective:
        """Return the same objective in a process of its own."""
        from tuneflow.objective.process import ProcessObjective

        return ProcessObjective(self)


class ThreadStream(Stream):
    """The rendezvous of a worker's thread with an objective's thread.

    Each pull wakes the objective, and each report wakes the worker: two switches of threads a
    report, 20 to 25 µs together, and never two threads that compute at a time.
    """

    interruptible = False

    def __init__(self, objective: PythonObjective, context: Context) -> None:
        self._objective = objective
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._pulls: SimpleQueue[bool] = SimpleQueue()
        self._waiting = False
        self._ended = False
        self._attached = False
        self._session = Session(context, self._exchange)
        self._thread = threading.Thread(
            target=self._run, name=f"trial-{context.segment.trial}", daemon=True
        )
        os.environ.update({**objective.env, **context.env})
        self._attach()
        self._thread.start()

    def next(self, timeout: float | None = None) -> Event:
        """Let the objective go on and wait for its next report."""
        if self._waiting:
            self._waiting = False
            self._pulls.put(True)
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(event, RawReport):
            self._waiting = True
        elif isinstance(event, Ended):
            self._finish()
        return event

    def interrupt(self) -> None:
        """Make a pull return early."""
        self._events.put(None)

    def save_soon(self) -> None:
        """Have the objective's next report saved."""
        self._session.save_soon()

    def suspend(self) -> None:
        """Put the thread aside."""
        self._detach()

    def resume(self, context: Context) -> None:
        """Let the next segment go on with the suspended thread."""
        os.environ.update(context.env)
        self._session.resume(context)
        self._attach()

    def close(self, grace: float) -> bool:
        """Raise `TrialStopped` in the objective's report and wait for the thread to end."""
        if not self._ended:
            self._attach()
            self._pulls.put(False)
            self._thread.join(grace)
            self._finish()
        return not self._thread.is_alive()

    def hint(self, metric: str) -> str:
        """Say how a Python objective reports a metric."""
        return python_hint(metric)

    def _finish(self) -> None:
        self._ended = True
        self._detach()

    def _attach(self) -> None:
        """Capture its output, and let the threads that it starts report."""
        if not self._attached:
            self._attached = True
            output.install()
            add_live(self._session)

    def _detach(self) -> None:
        if self._attached:
            self._attached = False
            output.uninstall()
            remove_live(self._session)

    def _exchange(self, report: RawReport) -> None:
        """Runs in the objective's thread: hand a report over, wait for the next pull."""
        self._events.put(report)
        if not self._pulls.get():
            self._pulls.put(False)
            raise TrialStopped
        output.capture(self._session.context.log)

    def _run(self) -> None:
        """Runs in the objective's thread, from its start to its end."""
        bind(self._session)
        output.capture(self._session.context.log)
        self._events.put(Ended(run(self._objective.function, self._session)))


def run(function: Callable[..., Any], session: Session) -> Failure | None:
    """Drive an objective to its end; return its failure, or None."""
    try:
        drive(function, session)
    except TrialStopped:
        return None
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        return failure_of(error)
    return None


def python_hint(metric: str) -> str:
    """Say how a Python objective reports a metric."""
    return (
        f"return a number or a dict with {metric!r}, yield one after each step, "
        f"or call tuneflow.report({{{metric!r}: …}})"
    )
