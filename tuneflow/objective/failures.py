"""Why an objective failed, in one sentence and the user's own lines."""

from __future__ import annotations

import signal
import traceback
from pathlib import Path
from types import TracebackType

from tuneflow.redaction import redacted
from tuneflow.trial import Failure

TRACEBACK_LIMIT = 20_000
_OWN = str(Path(__file__).parent)
_OUT_OF_MEMORY = ", perhaps for want of memory"


def failure_of(error: BaseException) -> Failure | None:
    """Return what an exception out of user code means; None for a clean ``sys.exit()``."""
    if isinstance(error, SystemExit):
        return _system_exit(error)
    message = redacted(" ".join(str(error).split())) or type(error).__name__
    return Failure(type(error).__name__, _cut(message, 2000), user_traceback(error))


def _system_exit(error: SystemExit) -> Failure | None:
    if error.code in (None, 0):
        return None
    said = redacted(f"exited with status {error.code}")
    return Failure("exit", _cut(said, 2000), user_traceback(error))


def exit_failure(returncode: int, output: str) -> Failure | None:
    """Return what the end of a process means; None for status 0."""
    if returncode == 0:
        return None
    if returncode > 0:
        return Failure("exit", f"exited with status {returncode}", output)
    hint = _OUT_OF_MEMORY if -returncode == signal.SIGKILL else ""
    return Failure("signal", f"killed by {_signal_name(-returncode)}{hint}", output)


def is_terminated(failure: Failure) -> bool:
    """Return whether a process was ended by SIGTERM."""
    return (failure.kind, failure.message) == ("signal", "killed by SIGTERM")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def user_traceback(error: BaseException) -> str:
    """Return a traceback that starts in the user's code, without secrets, and not too long."""
    frames = _skip_own(error.__traceback__)
    lines = traceback.format_exception(type(error), error, frames)
    return _cut(redacted("".join(lines)), TRACEBACK_LIMIT)


def _skip_own(frames: TracebackType | None) -> TracebackType | None:
    """Drop the frames that called the objective; keep all when there are no others."""
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OWN):
        first = first.tb_next
    return first or frames


def _cut(text: str, limit: int) -> str:
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n…\n{text[-half:]}"
