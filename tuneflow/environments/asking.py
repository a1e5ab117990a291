"""Asking the library of an environment; see `tuneflow.searchers.conversation`.

This process has one process in each environment, whichever studies and libraries need it. It is
started when it is first needed, and ends with this one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tuneflow.environments.making import Made, ensure
from tuneflow.environments.process import BrokenProcessError, LibraryProcess
from tuneflow.errors import SearcherError
from tuneflow.libraries.base import Parameter, Values
from tuneflow.searchers.conversation import Connection, Event
from tuneflow.searchers.environment import Environment

ANSWERING: Final = 600.0
"""Seconds that an answer may take. The slowest library known takes 40 s for 1,000 trials."""

STARTING: Final = 300.0
"""Seconds that the start and the import of a library may take; PyTorch from a cold disk is slow."""


class Host:
    """The one process in an environment.

    Args:
        environment: the environment.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.over: deque[int] = deque()
        self._lock = threading.Lock()
        self._made: Made | None = None
        self._process: LibraryProcess | None = None

    def ask(
        self, library: str, question: Callable[[LibraryProcess], dict[str, Any]], limit: float
    ) -> dict[str, Any]:
        """Return an answer; a process that breaks is started anew and asked again, once.

        Args:
            library: whose question it is.
            question: is called with the process that will be asked.
            limit: seconds that an answer may take.

        Raises:
            SearcherError: the process broke twice, or the environment cannot be made.
        """
        with self._lock:
            with contextlib.suppress(BrokenProcessError):
                return self._ask(library, question, limit)
            try:
                return self._ask(library, question, limit)
            except BrokenProcessError as error:
                problem = f"the process of {library} broke twice at the same question: {error}"
                raise SearcherError(problem) from error

    def _ask(
        self, library: str, question: Callable[[LibraryProcess], dict[str, Any]], limit: float
    ) -> dict[str, Any]:
        try:
            process = self._running(library)
            return process.ask(question(process), limit)
        except BaseException:
            # Also when somebody interrupts it: half a question may be on the way.
            self._drop()
            raise

    def _running(self, library: str) -> LibraryProcess:
        if self._process is None:
            self._made = ensure(library, self.environment)
            self._process = LibraryProcess(self._made.python)
            self._process.ask({"load": adapter(library)}, STARTING)
        return self._process

    def _drop(self) -> None:
        """Let go of the process and of the environment, which may have been damaged."""
        if self._process is not None:
            self._process.close()
        if self._made is not None:
            self._made.release()
        self._process = self._made = None


_hosts: dict[str, Host] = {}
_guard = threading.Lock()


def _forked() -> None:
    """Start anew in a fork: the processes are its parent's."""
    global _guard  # noqa: PLW0603 - it may have been held when the fork was made
    _guard = threading.Lock()
    _hosts.clear()


os.register_at_fork(after_in_child=_forked)


def host(environment: Environment) -> Host:
    """Return the host of an environment; there is one in each process."""
    key = json.dumps(environment.to_json())
    with _guard:
        return _hosts.get(key) or _hosts.setdefault(key, Host(environment))


def prepare(library: str, environment: Environment) -> None:
    """Make an environment if it is not there, and import a library in it.

    Raises:
        SearcherError: the environment cannot be made, or does not have the library.
    """
    answer = host(environment).ask(library, lambda _: {"load": adapter(library)}, STARTING)
    if "error" in answer:
        raise _failed(f"{library} cannot be imported in its environment", answer)


def adapter(library: str) -> dict[str, str]:
    """Return where the adapter of a library is; the other side knows its name, if it is ours."""
    found = importlib.util.find_spec(library) if "." in library else None
    if found is None or found.origin is None:
        return {"name": library}
    return {"name": library, "file": found.origin}


def connect(
    library: str,
    environment: Environment,
    parameters: Sequence[Parameter],
    options: Mapping[str, Any],
    seed: int,
) -> Connection:
    """Return a library of one study, in its environment. It is started at the first ask.

    Args:
        library: the adapter's name.
        environment: where it runs.
        parameters: the space.
        options: the settings of the library.
        seed: see `tuneflow.libraries.base.Library`.
    """
    described = [dataclasses.asdict(parameter) for parameter in parameters]
    beginning = {
        "library": adapter(library),
        "parameters": described,
        "options": dict(options),
        "seed": seed,
    }
    return _Isolated(library, environment, beginning)


_sessions = itertools.count()


class _Isolated:
    """The library of one study."""

    def __init__(self, library: str, environment: Environment, beginning: dict[str, Any]) -> None:
        self._library = library
        self._environment = environment
        self._beginning = beginning
        self._session = next(_sessions)
        self._host: Host | None = None
        self._process: LibraryProcess | None = None
        self._taken: int | None = None

    def ask(self, events: Sequence[Event], seed: int) -> Values:
        """Return a proposal."""
        owner = self._owner()
        answer = owner.ask(
            self._library, lambda process: self._question(process, owner, events, seed), ANSWERING
        )
        if "error" in answer:
            raise _failed(f"the library of {self._library}", answer)
        self._taken = len(events)
        values: Values = answer["values"]
        return values

    def _question(
        self, process: LibraryProcess, owner: Host, events: Sequence[Event], seed: int
    ) -> dict[str, Any]:
        """Return what a process is asked; one that does not know the study is told everything."""
        taken = self._taken if process is self._process else None
        # Nobody knows what it has taken in until it has answered.
        self._process, self._taken = process, None
        over = [owner.over.popleft() for _ in range(len(owner.over))]
        told = {"session": self._session, "seed": seed, "forget": over}
        if taken is None:
            return {**told, "events": list(events), "open": self._beginning}
        return {**told, "events": events[taken:]}

    def _owner(self) -> Host:
        owner = host(self._environment)
        if owner is not self._host:
            self._host = owner
            weakref.finalize(self, owner.over.append, self._session).atexit = False
        return owner


def _failed(what: str, answer: Mapping[str, Any]) -> SearcherError:
    error = SearcherError(f"{what}: {answer['error']}")
    error.add_note(answer.get("trace", ""))
    return error
