"""A Python objective in a process of its own: it can be killed, and its crash harms nobody.

The child is a plain new interpreter, because a Dask worker may not use multiprocessing. Messages
are JSON lines over two pipes of their own, so that prints cannot garble them; see
`tuneflow.objective.child` for the other side.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneflow.objective.environment import trial_environment
from tuneflow.objective.failures import exit_failure
from tuneflow.objective.group import ProcessGroup
from tuneflow.objective.python import PythonObjective, python_hint
from tuneflow.objective.scratch import new_path
from tuneflow.objective.stream import Context, Ended, Event, Objective, RawReport, Stream
from tuneflow.trial import Failure, Segment


@dataclass(frozen=True, eq=False)
class ProcessObjective:
    """A Python objective that each trial runs in a new process.

    Attributes:
        python: the objective.
    """

    python: PythonObjective

    @property
    def name(self) -> str:
        """The name of the function or class."""
        return self.python.name

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables that it asks for."""
        return self.python.env

    @property
    def timeout(self) -> float | None:
        """The most seconds that one segment may take, or None."""
        return self.python.timeout

    def open(self, context: Context) -> Stream:
        """Start a process."""
        return ProcessStream(self.python, context)

    def isolated(self) -> Objective:
        """Return itself."""
        return self


_pickles: weakref.WeakKeyDictionary[PythonObjective, Path] = weakref.WeakKeyDictionary()
_pickles_lock = threading.Lock()


def pickled(objective: PythonObjective) -> Path:
    """Return a file that holds the objective and its data; written once per process."""
    import cloudpickle

    with _pickles_lock:
        path = _pickles.get(objective)
        if path is None or not path.exists():
            path = new_path("objective")
            with path.open("wb") as file:
                cloudpickle.dump(objective.function, file)
            _pickles[objective] = path
            weakref.finalize(objective, path.unlink, missing_ok=True)
        return path


class ProcessStream(Stream):
    """The parent's side of a child process, which waits at each report for the next pull."""

    def __init__(self, objective: PythonObjective, context: Context) -> None:
        # Its pickle is there for as long as it is.
        self._objective = objective
        self._context = context
        self._events: deque[Event] = deque()
        self._partial = b""
        self._waiting = False
        self._ended = False
        self._interrupted = False
        context.directory.mkdir(parents=True, exist_ok=True)
        to_child, self._orders = os.pipe()
        self._reports, from_child = os.pipe()
        try:
            self._group = ProcessGroup(
                [sys.executable, "-m", "tuneflow.objective.child", str(to_child), str(from_child)],
                env=_environment(objective, context),
                cwd=Path.cwd(),
                stdout=self._print,
                stderr=self._print,
                extra={self._reports: self._receive},
                pass_fds=(to_child, from_child),
            )
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(to_child)
            os.close(from_child)
        self._send({**_start(pickled(objective)), **context_to_json(context)})

    def next(self, timeout: float | None = None) -> Event:
        """Let the child go on and wait for its next report, at most ``timeout`` seconds."""
        if self._waiting:
            self._waiting = False
            self._send({"order": "go"})
        if not self._events and not self._ended:
            self._group.pump(timeout)
        if not self._events and self._group.returncode is not None:
            self._finish()
        return self._take()

    def interrupt(self) -> None:
        """Make a pull return early."""
        self._group.wake()

    def save_soon(self) -> None:
        """Have the objective's next report saved."""
        if not self._ended:
            self._send({"order": "save"})

    def resume(self, context: Context) -> None:
        """Let the next segment go on in the suspended child."""
        self._context = context
        self._send({"order": "resume", **context_to_json(context)})

    def close(self, grace: float) -> bool:
        """End the child: asked at its report, else by SIGTERM; by force after ``grace``."""
        if not self._ended:
            self._ended = True
            self._send({"order": "stop"})
            (self._group.finish if self._waiting else self._group.stop)(grace)
            self._close_pipes()
        return True

    def hint(self, metric: str) -> str:
        """Say how a Python objective reports a metric."""
        return python_hint(metric)

    def _take(self) -> Event:
        event = self._events.popleft() if self._events else None
        if isinstance(event, RawReport):
            self._waiting = True
        elif isinstance(event, Ended):
            self._waiting = True
            self.close(self._context.grace)
        return event

    def _finish(self) -> None:
        """Say how the child ended when it did not say so itself."""
        self._group.drain()
        if not self._events and not self._ended:
            returncode = self._group.returncode or 0
            failure = exit_failure(returncode, self._context.log.tail())
            self._events.append(Ended(failure or _vanished()))

    def _send(self, message: dict[str, Any]) -> None:
        # A child that is gone is noticed by its exit.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._orders, json.dumps(message).encode() + b"\n")

    def _print(self, data: bytes) -> None:
        self._context.log.write(data)

    def _receive(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._events.extend(_event(json.loads(line)) for line in lines)

    def _close_pipes(self) -> None:
        os.close(self._orders)
        os.close(self._reports)


def _start(objective: Path) -> dict[str, Any]:
    return {
        "objective": str(objective),
        "path": sys.path,
        "pythonpath": os.environ.get("PYTHONPATH"),
    }


def _vanished() -> Failure:
    return Failure("exit", "the process ended with status 0 in the middle of the objective")


def _environment(objective: PythonObjective, context: Context) -> dict[str, str]:
    """Return the child's environment; it must find tuneflow where this process found it."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, **objective.env, **trial_environment(context), "PYTHONPATH": path}


def _event(message: dict[str, Any]) -> Event:
    """Read a message of the child."""
    if "ended" in message:
        failure = message["ended"]
        return Ended(Failure(**failure) if failure else None)
    path = message["checkpoint"]
    return RawReport(
        message["resource"],
        message["metrics"],
        Path(path) if path else None,
        message["temporary"],
        message["offered"],
    )


def context_to_json(context: Context) -> dict[str, Any]:
    """Return what the child needs of a context."""
    return {
        "segment": context.segment.to_json(),
        "metric": context.metric,
        "start": context.start,
        "restore": str(context.restore) if context.restore else None,
        "directory": str(context.directory),
        "every": context.every,
        "seconds": context.seconds,
        "env": dict(context.env),
    }


def context_from_json(data: Mapping[str, Any]) -> Context:
    """Read what `context_to_json` wrote."""
    return Context(
        segment=Segment.from_json(data["segment"]),
        metric=data["metric"],
        start=data["start"],
        restore=Path(data["restore"]) if data["restore"] else None,
        directory=Path(data["directory"]),
        every=data["every"],
        seconds=data["seconds"],
        env=data["env"],
    )
