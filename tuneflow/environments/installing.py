"""Installing packages with uv or pip, with a log of what they print."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from tuneflow.environments.process import clean_environment
from tuneflow.searchers.environment import Environment

_PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--no-input")

_OWN: Final = re.compile(
    r"^\S*\.(index-url|extra-index-url|find-links|no-index|proxy|constraint|cert)=", re.MULTILINE
)
"""A setting of pip without which packages would come from elsewhere; uv does not know it."""

_CREDENTIALS: Final = re.compile(r"//[^/@\s]+@")

_SHOWN: Final = 8
"""How many of the last lines an error has."""


def redacted(text: str) -> str:
    """Return a text without the credentials in its URLs."""
    return _CREDENTIALS.sub("//***@", text)


class CommandError(Exception):
    """A command failed; its last lines."""


class Installer:
    """Runs the commands that make an environment. Each may raise CommandError.

    Args:
        python: the interpreter of the environment, which need not be there yet.
        log: where what the commands print is written.
    """

    def __init__(self, python: Path, log: IO[str]) -> None:
        self._python = python
        self._log = log

    def make(self, base: Path, folder: Path) -> None:
        """Make an empty environment in a folder, with the Python at ``base``."""
        self._run([base, "-m", "venv", folder])

    def install(self, environment: Environment) -> None:
        """Install what an environment asks for, in its order."""
        built_here = ["--no-build-isolation"] if environment.build else []
        uv = self._uv()
        for requirements, options in (
            (environment.build, []),
            (environment.requirements, built_here),
            (environment.no_deps, ["--no-deps", *built_here]),
        ):
            if requirements:
                self._install([*options, *requirements], uv)

    def _install(self, arguments: Sequence[str], uv: str | None) -> None:
        if uv is not None:
            try:
                self._run([uv, "pip", "install", "--python", self._python, *arguments])
            except CommandError:
                self._write("uv has failed; trying pip\n")
            else:
                return
        self._run([self._python, *_PIP, "install", *arguments])

    def _uv(self) -> str | None:
        """Return where uv is, if it would find the packages that pip finds."""
        uv = shutil.which("uv")
        if uv is None:
            return None
        command = [str(self._python), *_PIP, "config", "list"]
        settings = subprocess.run(  # noqa: S603 - the interpreter that was just made
            command, env=clean_environment(), capture_output=True, text=True, check=False
        )
        return None if _OWN.search(settings.stdout) else uv

    def _run(self, command: Sequence[str | Path]) -> None:
        arguments = [str(part) for part in command]
        self._write(f"$ {shlex.join(arguments)}\n")
        try:
            process = subprocess.Popen(  # noqa: S603 - what was asked for
                arguments,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise CommandError(str(error)) from error
        last = self._follow(process)
        if process.returncode:
            raise CommandError(" | ".join(last))

    def _follow(self, process: subprocess.Popen[str]) -> list[str]:
        """Log what a command prints until it ends; return its last lines."""
        last: deque[str] = deque(maxlen=_SHOWN)
        with process:
            try:
                for line in process.stdout or ():
                    last.append(self._write(line).strip())
            except BaseException:
                process.kill()
                raise
        return [line for line in last if line]

    def _write(self, text: str) -> str:
        """Write to the log without credentials; return what was written."""
        text = redacted(text)
        self._log.write(text)
        self._log.flush()
        return text
