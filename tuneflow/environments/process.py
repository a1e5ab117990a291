"""The process of a library, seen from the one that asks it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import tuneflow.libraries
from tuneflow.environments import serving
from tuneflow.objective.failures import exit_failure
from tuneflow.objective.group import ProcessGroup
from tuneflow.objective.scratch import new_path

_STRIPPED: Final = ("PYTHON", "VIRTUAL_ENV")
"""Beginnings of the names of variables that would lead the other Python astray."""

_MOST_SAID: Final = 10_000
"""Bytes that are kept of what a library prints."""

_BUSY: Final = 0.002
"""Seconds between two tries to write to a full pipe."""


class BrokenProcessError(Exception):
    """The process has ended, hangs, or says what is no answer."""


def clean_environment() -> dict[str, str]:
    """Return this process's environment variables without those that are about its Python."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_STRIPPED)}


class LibraryProcess:
    """A process that answers questions, one at a time. Used by one thread at a time.

    It has a session of its own, so that Ctrl-C in the terminal is none of its business.

    Args:
        python: the interpreter.

    Raises:
        BrokenProcessError: it cannot be started.
    """

    def __init__(self, python: Path) -> None:
        self._answers: deque[dict[str, Any]] = deque()
        self._partial = b""
        self._garbage = ""
        self._said = b""
        self._asked = 0
        # Libraries write files to where they are.
        directory = new_path("searcher")
        directory.mkdir()
        theirs, self._questions = os.pipe()
        self._replies, ours = os.pipe()
        libraries = Path(tuneflow.libraries.__file__).parent
        command = [python, "-I", serving.__file__, str(theirs), str(ours), libraries]
        try:
            self._group = ProcessGroup(
                [str(part) for part in command],
                env=clean_environment(),
                cwd=directory,
                stdout=self._hear,
                stderr=self._hear,
                extra={self._replies: self._receive},
                pass_fds=(theirs, ours),
            )
        except OSError as error:
            self._close_pipes()
            raise BrokenProcessError(f"it cannot be started: {error}") from error
        finally:
            os.close(theirs)
            os.close(ours)
        os.set_blocking(self._questions, False)

    def ask(self, question: dict[str, Any], limit: float) -> dict[str, Any]:
        """Return the answer to a question.

        Args:
            question: JSON.
            limit: seconds after which none is expected any more.

        Raises:
            BrokenProcessError: there is none. The process must be closed.
        """
        self._asked += 1
        until = time.monotonic() + limit
        text = json.dumps({"id": self._asked, **question}, allow_nan=False)
        self._send(text.encode() + b"\n", until, limit)
        while True:
            answer = self._answer()
            if answer is not None:
                return answer
            if self._group.returncode is not None:
                raise BrokenProcessError(self._ending())
            self._pump(until, limit)

    def close(self) -> None:
        """End it at once."""
        self._group.stop(0)
        self._close_pipes()

    def _send(self, data: bytes, until: float, limit: float) -> None:
        # What is written to a process that has ended is noticed when no answer comes.
        with contextlib.suppress(BrokenPipeError):
            while data:
                try:
                    data = data[os.write(self._questions, data) :]
                except BlockingIOError:
                    self._pump(until, limit, _BUSY)

    def _pump(self, until: float, limit: float, most: float = math.inf) -> None:
        """Wait for whatever it says, or its end."""
        left = until - time.monotonic()
        if left <= 0:
            raise BrokenProcessError(f"it has not answered within {limit:g} s{self._words()}")
        self._group.pump(min(left, most))

    def _answer(self) -> dict[str, Any] | None:
        """Return the answer to the newest question; nobody waits for older ones any more."""
        if self._garbage:
            raise BrokenProcessError(f"it has sent what is no answer: {self._garbage}")
        while self._answers:
            answer = self._answers.popleft()
            if answer.pop("id", None) == self._asked:
                return answer
        return None

    def _ending(self) -> str:
        self._group.drain()
        failure = exit_failure(self._group.returncode or 0, "")
        how = failure.message if failure else "exited with status 0"
        return f"it {'was ' * how.startswith('killed')}{how}{self._words()}"

    def _words(self) -> str:
        """Return the last lines that were printed, as the end of a sentence."""
        lines = self._said.decode(errors="replace").strip().splitlines()
        return "; its last words: " + " | ".join(lines[-5:]) if lines else ""

    def _hear(self, data: bytes) -> None:
        self._said = (self._said + data)[-_MOST_SAID:]

    def _receive(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            try:
                self._answers.append({**json.loads(line)})
            except (ValueError, TypeError):
                self._garbage = repr(line[:200])

    def _close_pipes(self) -> None:
        os.close(self._questions)
        os.close(self._replies)
