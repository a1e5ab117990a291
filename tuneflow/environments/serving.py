"""What runs in an environment: ``python -I serving.py READ WRITE LIBRARIES``.

It reads questions from file descriptor READ and writes answers to WRITE, each a line of JSON with
an ``id``. What libraries print goes elsewhere, and so cannot garble them. A thread waits for the
questions, so that this process ends with the one that asks, whatever it is doing.

| question | answer |
| --- | --- |
| ``load``: the ``name`` of a library, and the ``file`` if it is not ours | nothing |
| ``session``, ``events``, ``seed``, ``open`` the first time, ``forget`` others | ``values`` |
| any that cannot be answered | ``error``, and the traceback as ``trace`` |

The Python here has no tuneflow: this module imports the standard library, and the adapters in
the folder LIBRARIES under the name that they have in tuneflow. Python 3.10 or later.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import json
import os
import queue
import select
import signal
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from typing import Any

_LOOK = 2.0
"""Seconds between two looks at who the parent is, where the pipe alone does not tell.

A fork of the parent holds a copy of its end, and may outlive it.
"""


def module(name: str, file: str, folder: str | None = None) -> Any:
    """Import a file under a name; a package when a folder is given."""
    inside = None if folder is None else [folder]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    sys.modules[name] = made = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[name]
        raise
    return made


def adapters(folder: str) -> Any:
    """Return the folder's package as ``tuneflow.libraries`` of a tuneflow that has nothing else."""
    sys.modules["tuneflow"] = above = types.ModuleType("tuneflow")
    above.__path__ = []
    return module("tuneflow.libraries", os.path.join(folder, "__init__.py"), folder)  # noqa: PTH118


class Server:
    """Answers questions, one after the other.

    Args:
        libraries: the package of the adapters.
    """

    def __init__(self, libraries: Any) -> None:
        self._libraries = libraries
        self._sessions: dict[int, Any] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question."""
        try:
            if "load" in question:
                self._library(**question["load"])
                return {}
            return {"values": self._values(**question)}
        except BaseException as error:  # noqa: BLE001 - a library may raise anything
            # It may have taken in a part of the events.
            self._sessions.pop(question.get("session", 0), None)
            return {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}

    def _values(
        self,
        session: int,
        events: list[list[Any]],
        seed: int,
        forget: list[int],
        open: dict[str, Any] | None = None,  # noqa: A002 - the word of the messages
    ) -> dict[str, Any]:
        for over in forget:
            self._sessions.pop(over, None)
        if open is not None:
            self._sessions[session] = self._opened(**open)
        library = self._sessions[session]
        for name, *arguments in events:
            getattr(library, name)(*arguments)
        values: dict[str, Any] = library.ask(seed)
        return values

    def _library(self, name: str, file: str | None = None) -> Any:
        if file is not None and name not in sys.modules:
            module(name, file)
        return self._libraries.library(name)

    def _opened(
        self,
        library: dict[str, str],
        parameters: list[dict[str, Any]],
        options: dict[str, Any],
        seed: int,
    ) -> Any:
        made = self._library(**library)
        kind = importlib.import_module("tuneflow.libraries.base").Parameter
        return made([kind(**parameter) for parameter in parameters], options, seed)


def messages(fd: int, parent: int) -> Iterator[dict[str, Any]]:
    """Yield what comes until the other side is gone."""
    partial = b""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    while True:
        if not waiting.poll(_LOOK * 1000):
            if os.getppid() != parent:
                return
            continue
        data = os.read(fd, 1 << 20)
        if not data:
            return
        *lines, partial = (partial + data).split(b"\n")
        yield from map(json.loads, lines)


def send(fd: int, message: dict[str, Any]) -> None:
    """Write a line; numbers of NumPy become those of Python."""
    text = json.dumps(message, allow_nan=False, default=lambda number: number.item())
    data = text.encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


def listen(fd: int, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass questions on; end this process, and what it has started, with its parent."""
    try:
        for message in messages(fd, os.getppid()):
            inbox.put(message)
    finally:
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Answer as the command line says, for ever."""
    faulthandler.enable()
    read, write = map(int, sys.argv[1:3])
    for fd in (read, write):
        os.set_inheritable(fd, False)
    libraries = sys.argv[3]
    sys.argv[1:] = []
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=listen, args=(read, inbox), name="questions", daemon=True).start()
    server = Server(adapters(libraries))
    while True:
        question = inbox.get()
        number = question.pop("id")
        answer = server.answer(question)
        try:
            send(write, {"id": number, **answer})
        except (ValueError, AttributeError) as error:
            send(write, {"id": number, "error": f"{answer['values']} is no JSON: {error}"})


if __name__ == "__main__":
    main()
