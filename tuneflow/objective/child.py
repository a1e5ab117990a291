"""The child's side of `tuneflow.objective.process`: ``python -m tuneflow.objective.child R W``.

It reads orders from file descriptor R and writes reports to W. A thread waits for the orders, so
that the child dies with its parent, whatever it is doing.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any

from tuneflow.objective.environment import trial_environment
from tuneflow.objective.failures import failure_of
from tuneflow.objective.process import context_from_json
from tuneflow.objective.python import run
from tuneflow.objective.session import Session, TrialStopped, add_live, bind
from tuneflow.objective.stream import RawReport
from tuneflow.trial import Failure


class Child:
    """One objective, run in the main thread of this process."""

    def __init__(self, orders: Iterator[dict[str, Any]], reports: int) -> None:
        self._orders = orders
        self._reports = reports
        self._inbox: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._stopped = False
        # Whether SIGTERM came, and whether the parent has said that it is to end the objective.
        self._terminated = self._told_to_stop = False
        start = next(orders)
        _set_path(start["path"], start["pythonpath"])
        self._objective = Path(start["objective"])
        self.session = Session(context_from_json(start), self._exchange)

    def run(self) -> None:
        """Run the objective and say how it ended."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        bind(self.session)
        add_live(self.session)
        failure = self._run()
        self._stopped = True
        _flush()
        self._send({"ended": failure.to_json() if failure else None})

    def _run(self) -> Failure | None:
        try:
            target = _load(self._objective)
        except TrialStopped:
            return None
        except BaseException as error:  # noqa: BLE001 - it imports what the user's modules import
            return failure_of(error)
        return run(target, self.session)

    def _listen(self) -> None:
        """Pass orders on; end with the parent."""
        for order in self._orders:
            if order["order"] == "save":
                self.session.save_soon()
                continue
            self._inbox.put(order)
            if order["order"] == "stop":
                self._told_to_stop = True
                if self._terminated:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        os.killpg(0, signal.SIGKILL)

    def _exchange(self, report: RawReport) -> None:
        """Send a report and wait until the next one is wanted."""
        _flush()
        self._send(
            {
                "resource": report.resource,
                "metrics": dict(report.metrics),
                "checkpoint": str(report.checkpoint) if report.checkpoint else None,
                "temporary": report.temporary,
                "offered": report.offered,
            }
        )
        while (order := self._inbox.get())["order"] == "resume":
            self._resume(order)
        if order["order"] == "stop":
            self._stopped = True
            self._inbox.put(order)
            raise TrialStopped

    def _resume(self, order: dict[str, Any]) -> None:
        context = context_from_json(order)
        os.environ.update(trial_environment(context))
        self.session.resume(context)

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._reports, data) :]

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """End the objective as a stop at a report does, so that it can clean up; once.

        A signal that is not the parent's goes to all processes of a machine that is taken away.
        """
        self._terminated = True
        if not self._told_to_stop:
            self.session.save_soon()
        elif not self._stopped:
            self._stopped = True
            raise TrialStopped


def _set_path(path: list[str], pythonpath: str | None) -> None:
    """Import what the parent can, and give programs started here the parent's environment."""
    sys.path[:] = path
    if pythonpath is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = pythonpath


def _load(path: Path) -> Callable[..., Any]:
    """Load what the parent wrote into its own scratch directory a moment ago."""
    with path.open("rb") as file:
        target: Callable[..., Any] = pickle.load(file)  # noqa: S301 - nothing from storage
    return target


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _messages(fd: int) -> Iterator[dict[str, Any]]:
    """Read JSON lines, without a buffered file whose lock could outlive its thread at exit."""
    partial = b""
    while data := os.read(fd, 65536):
        *lines, partial = (partial + data).split(b"\n")
        yield from map(json.loads, lines)


def main() -> None:
    """Run as the command line says."""
    faulthandler.enable()
    orders, reports = map(int, sys.argv[1:3])
    os.set_inheritable(orders, False)
    os.set_inheritable(reports, False)
    sys.argv[1:] = []
    Child(_messages(orders), reports).run()


if __name__ == "__main__":
    main()
