"""How a command ends: an error is one line, a JSON object where that was asked for, and a code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, ClassVar

import typer

from tuneflow.cli.output import print_json, say
from tuneflow.errors import SpecError, TuneflowError
from tuneflow.interrupt import Terminated

DEBUG = "TUNEFLOW_DEBUG"
"""The environment variable that makes the command show tracebacks."""

DRIFTED = 10
"""The exit code of a look at a metric that has drifted: an answer, and no error."""

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "unexpected error",
    2: "bad input",
    3: "trials failed",
    4: "storage, cluster or search library",
    5: "another driver took over",
    6: "damaged object in the storage",
    DRIFTED: "a metric has drifted",
    130: "interrupted",
    143: "ended by SIGTERM",
}
"""What each exit code means, in short; docs/cli.md says more."""


class UnsuccessfulError(TuneflowError):
    """A study was driven, and what it came to is no success.

    Args:
        sentence: what is the matter.
        document: the study's status, for those who asked for JSON.
    """

    exit_code = 3
    prefix: ClassVar[str] = "error: "

    def __init__(self, sentence: str, document: Mapping[str, Any]) -> None:
        super().__init__(sentence, document)
        self.sentence = sentence
        self.document = document

    def __str__(self) -> str:
        return self.sentence


class StudyInterruptedError(UnsuccessfulError):
    """Ctrl-C ended a driver; the study can be resumed."""

    exit_code = 130
    prefix = ""


class StudyTerminatedError(StudyInterruptedError):
    """SIGTERM, or a notice of preemption, ended a driver; the study can be resumed."""

    exit_code = 143


def interrupted(
    error: KeyboardInterrupt, sentence: str, document: Mapping[str, Any]
) -> StudyInterruptedError:
    """Return how a command ends that was interrupted; see `UnsuccessfulError`."""
    kind = StudyTerminatedError if isinstance(error, Terminated) else StudyInterruptedError
    return kind(sentence, document)


def fail(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong, and return the exit code."""
    # Typer turns a broken pipe into SystemExit.
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        return _quietly()
    if os.environ.get(DEBUG) not in (None, "", "0"):
        traceback.print_exception(error)
    code, sentence = _explain(error)
    say(f"{getattr(error, 'prefix', 'error: ')}{sentence}")
    if as_json:
        print_json({**getattr(error, "document", {}), "error": _document(error, code, sentence)})
    return code


def _explain(error: BaseException) -> tuple[int, str]:
    if isinstance(error, TuneflowError):
        return error.exit_code, str(error)
    if isinstance(error, Terminated):
        return 143, "terminated"
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return 130, "interrupted"
    usage: Any = error
    if hasattr(error, "format_message"):
        return int(usage.exit_code), f"{usage.format_message()} See: tuneflow --help"
    hint = f"set {DEBUG}=1 to see where it comes from"
    return 1, f"unexpected {type(error).__name__}: {error} ({hint})"


def _document(error: BaseException, code: int, sentence: str) -> dict[str, Any]:
    document = {"type": type(error).__name__, "message": sentence, "exit_code": code}
    return document | ({"field": error.field} if isinstance(error, SpecError) else {})


def _quietly() -> int:
    """End without another word: whoever read our output has gone away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
