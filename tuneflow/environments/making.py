"""Making environments, each once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tuneflow.environments.cache import Cached, cache_folder
from tuneflow.environments.installing import CommandError, Installer, redacted
from tuneflow.environments.interpreters import Interpreter, find_interpreter
from tuneflow.errors import SearcherError
from tuneflow.searchers.environment import Environment


@dataclass(frozen=True)
class Made:
    """An environment that is there, and stays there until it is released.

    Attributes:
        python: its interpreter.
    """

    python: Path
    lock: IO[str] | None = None

    def release(self) -> None:
        """Let others remove it."""
        if self.lock is not None:
            self.lock.close()


def ensure(library: str, environment: Environment) -> Made:
    """Return an environment, which is made if it is not there.

    Several processes may want it at once: one makes it, the others wait. One that was not made to
    its end is never used.

    Args:
        library: what it is for, for the eyes.
        environment: what is wanted. One in which nothing is installed is the interpreter itself.

    Raises:
        SearcherError: it cannot be made.
    """
    interpreter = find_interpreter(environment.python)
    if not environment.installs:
        return Made(interpreter.path)
    place = Cached(cache_folder() / _key(environment, interpreter))
    while True:
        lock = place.try_lock(shared=True) or _waited(place, library)
        if place.is_complete():
            place.touch()
            return Made(place.python, lock)
        lock.close()
        with place.lock(shared=False):
            if not place.is_complete():
                _make(place, library, environment, interpreter)


def _waited(place: Cached, library: str) -> IO[str]:
    tell(f"waiting for another process, which makes the environment of {library}")
    return place.lock(shared=True)


def _key(environment: Environment, interpreter: Interpreter) -> str:
    wanted = {
        **environment.to_json(),
        "python": str(interpreter.path.resolve()),
        "version": interpreter.version,
    }
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]


def _make(place: Cached, library: str, environment: Environment, interpreter: Interpreter) -> None:
    tell(f"making the environment of {library} (once; it takes minutes), see {place.log}")
    began = time.monotonic()
    place.clear()
    place.folder.mkdir(parents=True)
    try:
        with place.log.open("w") as log:
            installer = Installer(place.python, log)
            installer.make(interpreter.path, place.folder)
            installer.install(environment)
    except CommandError as error:
        problem = f"the environment of {library} cannot be made: {error} (all of it: {place.log})"
        raise SearcherError(problem) from error
    place.complete(_description(library, environment, interpreter))
    tell(f"made the environment of {library} in {time.monotonic() - began:.0f} s")


def _description(
    library: str, environment: Environment, interpreter: Interpreter
) -> dict[str, Any]:
    given = dataclasses.asdict(environment)
    lines = {name: [redacted(line) for line in given[name]] for name in given if name != "python"}
    return {"library": library, "python": ".".join(map(str, interpreter.version)), **lines}


def tell(sentence: str) -> None:
    """Say what takes so long."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
