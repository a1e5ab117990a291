"""An objective that is a program in any language.

It learns its configuration from its arguments, its environment or a JSON file, and reports by
printing JSON objects, one a line. It must be written to flush its output after each. A checkpoint
that it names must be complete, and must not be written to again: give each a path of its own.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tuneflow.errors import ObjectiveError, SpecError, did_you_mean
from tuneflow.objective import template
from tuneflow.objective.environment import trial_environment
from tuneflow.objective.failures import exit_failure, failure_of
from tuneflow.objective.group import ProcessGroup
from tuneflow.objective.lines import Lines, PrintedReport, checkpoint_path, parse
from tuneflow.objective.metrics import next_resource
from tuneflow.objective.period import Period
from tuneflow.objective.stream import Context, Ended, Event, Objective, RawReport, Stream

_KEYS = ("command", "env", "cwd", "timeout")


@dataclass(frozen=True, eq=False)
class CommandObjective:
    """A command.

    Attributes:
        command: program and arguments, as templates; see `tuneflow.objective.template`.
        env: environment variables, as templates.
        cwd: the folder to run it in; None is the trial's own.
        timeout: the most seconds a segment may take, or None.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    timeout: float | None = None

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.command[0]).name

    def open(self, context: Context) -> Stream:
        """Start it. Raises ObjectiveError when it cannot be."""
        return CommandStream(self, context)

    def isolated(self) -> Objective:
        """Return itself."""
        return self


def validate_command(spec: Mapping[str, Any], parameters: Iterable[str] | None = None) -> None:
    """Check a command's spec.

    Args:
        spec: ``command``, and possibly ``env``, ``cwd`` and ``timeout``.
        parameters: dotted paths of all parameters; None leaves placeholders unchecked.

    Raises:
        SpecError: names the field, the value and the fix.
    """
    for key in spec:
        if key not in _KEYS:
            raise SpecError(str(key), "unknown key", did_you_mean(str(key), _KEYS))
    texts = {**_arguments(spec.get("command")), **_variables(spec.get("env") or {})}
    if parameters is not None:
        paths = list(parameters)
        for place, text in texts.items():
            template.check(text, paths, place)
    check_timeout(spec.get("timeout"))
    if not isinstance(spec.get("cwd", ""), str):
        raise SpecError("cwd", f"{spec['cwd']!r} is not a path")


def command_from(spec: Mapping[str, Any], base: Path | None = None) -> CommandObjective:
    """Return the objective of a checked spec; a relative ``cwd`` is taken from ``base``."""
    validate_command(spec)
    cwd = spec.get("cwd")
    return CommandObjective(
        command=tuple(_arguments(spec["command"]).values()),
        env={name: str(value) for name, value in (spec.get("env") or {}).items()},
        cwd=(base or Path()).joinpath(cwd).absolute() if cwd else None,
        timeout=spec.get("timeout"),
    )


def check_timeout(value: Any) -> None:
    """Raise SpecError unless a timeout is None or a number of seconds above 0."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise SpecError("timeout", f"{value!r} is not a number of seconds above 0")


def _arguments(command: Any) -> dict[str, str]:
    """Return the arguments by where they stand in the spec."""
    if isinstance(command, str):
        fix = f"write a list: {json.dumps(command.split())}"
        raise SpecError("command", f"{command!r} is one string", fix)
    if not isinstance(command, list | tuple) or not command:
        raise SpecError("command", f"{command!r} is not a list of program and arguments")
    texts = {f"command[{index}]": argument for index, argument in enumerate(command)}
    return {place: _scalar(place, argument) for place, argument in texts.items()}


def _variables(env: Any) -> dict[str, str]:
    if not isinstance(env, Mapping):
        raise SpecError("env", f"{env!r} is not a mapping of names to values")
    return {f"env.{name}": _scalar(f"env.{name}", value) for name, value in env.items()}


def _scalar(place: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SpecError(place, f"{value!r} is not a string", f"write {json.dumps(str(value))}")
    return str(value)


class CommandStream(Stream):
    """A running command. It is not suspended between pulls, but held back by its full pipe."""

    suspendable: ClassVar[bool] = False
    saves_by_ending: ClassVar[bool] = True

    def __init__(
        self,
        objective: CommandObjective,
        context: Context,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._events: deque[Event] = deque()
        self._lines = Lines()
        self._last = context.start
        self._period = Period(context, clock)
        self._ended = False
        self._hurried = False
        self._unwanted: str | None = None
        context.directory.mkdir(parents=True, exist_ok=True)
        context.checkpoints.mkdir(parents=True, exist_ok=True)
        config = context.directory.with_name("config.json")
        config.write_text(json.dumps(context.segment.params))
        values = _values(context, config)
        arguments = [template.render(argument, values) for argument in objective.command]
        own = {name: template.render(text, values) for name, text in objective.env.items()}
        cwd = objective.cwd or context.directory
        try:
            self._group = ProcessGroup(
                arguments,
                env={**_inherited(), **own, **_environment(context, config)},
                cwd=cwd,
                stdout=self._read,
                stderr=context.log.write,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ObjectiveError(f"cannot start {arguments[0]!r} in {cwd}: {why}") from error

    def next(self, timeout: float | None = None) -> Event:
        """Wait for the next line that is a report, at most ``timeout`` seconds."""
        if not self._events:
            self._group.pump(timeout)
        if not self._events and self._group.returncode is not None:
            self._finish()
        event = self._events.popleft() if self._events else None
        if isinstance(event, Ended):
            self.close(0)
        return event

    def interrupt(self) -> None:
        """Make a pull return early."""
        self._group.wake()

    def save_soon(self) -> None:
        """Send SIGTERM: the command may print reports with a last checkpoint, and then end."""
        self._hurried = True
        if self._group.returncode is None:
            self._group.signal(signal.SIGTERM)

    def unwanted(self) -> Path | None:
        """Return the checkpoint that the newest line named if it is there and was not wanted."""
        if self._unwanted is None:
            return None
        try:
            return checkpoint_path(self._context.checkpoints, self._unwanted)
        except (ValueError, OSError):
            return None

    def close(self, grace: float) -> bool:
        """Send SIGTERM to the command and what it started, then SIGKILL."""
        self._ended = True
        self._group.stop(grace)
        return True

    def hint(self, metric: str) -> str:
        """Say how a command reports a metric."""
        line = json.dumps({metric: 0.5})
        return f"print a line such as {line} after each step, and flush it"

    def _finish(self) -> None:
        """Take the last output, then say how the command ended."""
        self._group.drain()
        self._print_reports(b"")
        if not self._ended:
            self._ended = True
            returncode = self._group.returncode or 0
            self._events.append(Ended(exit_failure(returncode, self._context.log.tail())))

    def _read(self, data: bytes) -> None:
        self._context.log.write(data)
        self._print_reports(data)

    def _print_reports(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            printed = parse(line)
            if printed is not None and not self._ended:
                self._events.append(self._event(printed))

    def _event(self, printed: PrintedReport) -> Event:
        """Return the report, or the end if it cannot be one."""
        try:
            return self._report(printed)
        except (TypeError, ValueError, OSError) as error:
            self._ended = True
            return Ended(failure_of(error))

    def _report(self, printed: PrintedReport) -> RawReport:
        self._last = next_resource(printed.resource, self._last)
        path = None
        is_wanted = self._period.is_over(self._last) or self._hurried
        if is_wanted and printed.checkpoint is not None:
            path = checkpoint_path(self._context.checkpoints, printed.checkpoint)
            self._period.saved()
        self._unwanted = printed.checkpoint if path is None else None
        return RawReport(self._last, printed.metrics, path, offered=printed.checkpoint is not None)


def _environment(context: Context, config: Path) -> dict[str, str]:
    """Return what the command is told."""
    restore = {} if context.restore is None else {"TUNEFLOW_RESTORE_DIR": str(context.restore)}
    every, seconds = context.every, context.seconds
    return {
        "TUNEFLOW_CONFIG": str(config),
        "TUNEFLOW_CHECKPOINT_DIR": str(context.checkpoints),
        "TUNEFLOW_CHECKPOINT_EVERY": "" if every is None else str(every),
        "TUNEFLOW_CHECKPOINT_SECONDS": "" if seconds is None else str(seconds),
        **restore,
        **trial_environment(context),
    }


def _inherited() -> dict[str, str]:
    """Return the environment that every command gets, less what another trial's was told."""
    # Python buffers what it prints to a pipe, and reports would come late.
    env = {"PYTHONUNBUFFERED": "1", **os.environ}
    env.pop("TUNEFLOW_RESTORE_DIR", None)
    return env


def _values(context: Context, config: Path) -> dict[str, Any]:
    segment = context.segment
    return {
        "trial": segment.trial,
        "segment": segment.segment,
        "start": context.start,
        "until": segment.until,
        "max_resource": segment.max_resource,
        "directory": str(context.directory),
        "checkpoint_dir": str(context.checkpoints),
        "restore_dir": str(context.restore) if context.restore else None,
        "config_file": str(config),
        **template.flatten(segment.params),
    }
