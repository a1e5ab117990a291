"""Finding the Python that an environment is to have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuneflow.environments.process import clean_environment
from tuneflow.errors import SearcherError

LEAST: Final = (3, 10)
"""The first Python that `tuneflow.environments.serving` and the adapters run on."""

_SCRIPT: Final = "import json, sys; print(json.dumps([sys.executable, *sys.version_info[:3]]))"
_PATIENCE: Final = 60.0
"""Seconds that an interpreter may take to say its version."""


@dataclass(frozen=True)
class Interpreter:
    """A Python.

    Attributes:
        path: where it is.
        version: its version, such as (3, 11, 7).
    """

    path: Path
    version: tuple[int, ...]


def find_interpreter(python: str | None) -> Interpreter:
    """Return the interpreter that an environment asks for.

    Args:
        python: a version, a path, or None for the one that runs this.

    Raises:
        SearcherError: there is none, or it is too old.
    """
    if python is None:
        return Interpreter(Path(sys.executable), sys.version_info[:3])
    found = _at(python) if "/" in python else _of_version(python)
    if found is None:
        fix = "install it, for example with uv or pyenv, or name another in environment.python"
        raise SearcherError(f"there is no Python {python} for the environment; {fix}")
    if found.version < LEAST:
        version, least = (".".join(map(str, numbers)) for numbers in (found.version, LEAST))
        raise SearcherError(f"environment.python: {version} is too old; {least} is the oldest")
    return found


def _of_version(version: str) -> Interpreter | None:
    found = (_at(path) for path in _candidates(version))
    return next((one for one in found if one is not None and _fits(one, version)), None)


def _fits(found: Interpreter, version: str) -> bool:
    wanted = tuple(map(int, version.split(".")))
    return found.version[: len(wanted)] == wanted


def _candidates(version: str) -> Iterator[str]:
    """Yield paths of interpreters that may have this version, the nearest first."""
    yield sys.executable
    short = ".".join(version.split(".")[:2])
    if on_path := shutil.which(f"python{short}"):
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for folder in sorted(pyenv.glob(f"versions/{version}*"), reverse=True):
        yield str(folder / "bin" / "python")
    if uv := shutil.which("uv"):
        yield _run([uv, "python", "find", "--no-project", version]).strip()


def _at(path: str) -> Interpreter | None:
    """Return the interpreter at a path; None when nothing there is one."""
    said = _run([str(Path(path).expanduser()), "-I", "-c", _SCRIPT]) if path else ""
    try:
        executable, *version = json.loads(said)
    except ValueError:
        return None
    return Interpreter(Path(executable), tuple(version))


def _run(command: list[str]) -> str:
    """Return what a command prints; nothing when it cannot be run."""
    try:
        done = subprocess.run(  # noqa: S603 - an interpreter that the user names, or uv
            command,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
