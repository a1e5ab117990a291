"""Every error a user can meet, grouped by what the caller does about it.

* fix the input: `SpecError`, `ObjectiveError`, `StudyExistsError`, `StudyNotFoundError`,
  `MissingDependencyError`
* fix the place: `StorageError`, `ClusterError`, `SearcherError`
* reload and go on from the stored state: `StudyConflictError`
* look at what is stored: `CorruptError`
* look at the trials: `TrialsFailedError`

Each class has the exit code that the ``tuneflow`` command ends with.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar


class TuneflowError(Exception):
    """The base of every error that tuneflow raises on purpose."""

    exit_code: ClassVar[int] = 1


class SpecError(TuneflowError, ValueError):
    """A field of a study, space, scheduler, searcher or executor has a value that cannot work.

    Args:
        field: dotted path of the field, such as ``space.lr.low``.
        problem: what is wrong, with the value.
        fix: what to write instead; may be empty where the problem already says it.
    """

    exit_code = 2

    def __init__(self, field: str, problem: str, fix: str = "") -> None:
        super().__init__(field, problem, fix)
        self.field = field
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        sentence = f"{self.field}: {self.problem}" if self.field else self.problem
        return f"{sentence}; {self.fix}" if self.fix else sentence

    def under(self, prefix: str) -> SpecError:
        """Return the same error for a field that lies below ``prefix``."""
        field = f"{prefix}.{self.field}" if self.field else prefix
        return SpecError(field, self.problem, self.fix)


class ObjectiveError(TuneflowError):
    """The objective cannot be imported, called or started."""

    exit_code = 2


class StudyExistsError(TuneflowError):
    """A study of this name exists already with another spec."""

    exit_code = 2


class StudyNotFoundError(TuneflowError):
    """There is no study at this URL."""

    exit_code = 2


class MissingDependencyError(TuneflowError, ImportError):
    """An optional package is needed and not installed.

    Args:
        package: the package that could not be imported.
        extra: the tuneflow extra that brings it; empty when none does.
        instead: what to use without it; may be empty.
    """

    exit_code = 2

    def __init__(self, package: str, extra: str = "", instead: str = "") -> None:
        super().__init__(package, extra, instead)
        self.package = package
        self.extra = extra
        self.instead = instead

    def __str__(self) -> str:
        what = f"'tuneflow[{self.extra}]'" if self.extra else self.package
        sentence = f"{self.package} is not installed; run: pip install {what}"
        return f"{sentence}, or use {self.instead}" if self.instead else sentence


class StorageError(TuneflowError):
    """The storage cannot be reached, written to, or trusted with a commit."""

    exit_code = 4


class ClusterError(TuneflowError):
    """The executor's cluster cannot be reached, or cannot run what was asked of it."""

    exit_code = 4


class SearcherError(TuneflowError):
    """The library that proposes configurations failed, or its environment cannot be made."""

    exit_code = 4


class StudyConflictError(TuneflowError):
    """Another driver has taken over this study; this one must stop."""

    exit_code = 5


class CorruptError(TuneflowError):
    """An object in storage is not what was written there."""

    exit_code = 6


class CheckpointCorruptError(CorruptError):
    """A checkpoint's manifest or one of its files is missing, torn or altered."""


class TrialsFailedError(TuneflowError):
    """The study ended without a usable result, or was halted by its failed trials."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[Any]) -> str:
    """Return a phrase that offers the nearest known word, or lists the known ones."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(sorted(names))}" if names else "none is known"
