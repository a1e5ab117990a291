"""Trackers as a driver uses them: made from what a user gives, and kept from doing harm."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tuneflow.errors import MissingDependencyError, SpecError
from tuneflow.events import Fact
from tuneflow.history import History
from tuneflow.plugins import make
from tuneflow.study import Study
from tuneflow.trackers.base import Tracker

TrackerLike: TypeAlias = Tracker | Mapping[str, Any] | str
"""A tracker: an instance, a type name, or ``{"type": …, …}``."""

_log = logging.getLogger("tuneflow")


def make_trackers(given: Sequence[TrackerLike], folder: Path) -> list[Tracker]:
    """Return the trackers that are given, or that names and mappings describe.

    Args:
        given: instances, type names and mappings.
        folder: where the relative paths in names and mappings start.
    """
    return [_made(tracker, folder) for tracker in _listed(given)]


def described(given: Sequence[TrackerLike]) -> tuple[Mapping[str, Any], ...]:
    """Return trackers as a study file has them, without those that are instances."""
    plain = (tracker for tracker in _listed(given) if not isinstance(tracker, Tracker))
    return tuple({"type": one} if isinstance(one, str) else one for one in plain)


@contextmanager
def attached(
    trackers: Sequence[Tracker], study: Study, url: str, history: History
) -> Iterator[Sequence[Callable[[History, Sequence[Fact]], None]]]:
    """Open trackers, yield an observer for each, and close them in the end.

    Raises SpecError or MissingDependencyError when a tracker cannot work as it is set up. Any
    other error of a tracker is logged and ends that tracker.
    """
    with ExitStack() as stack:
        observers = []
        for tracker in trackers:
            one = _Attached(tracker)
            stack.callback(one.close)
            one.open(study, url, history)
            observers.append(one.observe)
        yield observers


class _Attached:
    """A tracker that is dropped at its first error."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._is_dropped = False

    def open(self, study: Study, url: str, history: History) -> None:
        try:
            self._tracker.open(study, url, history)
        except (SpecError, MissingDependencyError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, the study goes on
            self._drop(error)

    def observe(self, history: History, facts: Sequence[Fact]) -> None:
        if self._is_dropped:
            return
        try:
            self._tracker(history, facts)
        except Exception as error:  # noqa: BLE001
            self._drop(error)

    def close(self) -> None:
        try:
            self._tracker.close()
        except Exception as error:  # noqa: BLE001
            self._drop(error)

    def _drop(self, error: Exception) -> None:
        """Say once what is wrong, and tell the tracker nothing from then on."""
        if not self._is_dropped:
            name = self._tracker.type
            what = f"{type(error).__name__}: {error}"
            _log.warning("the tracker '%s' is dropped, the study goes on: %s", name, what)
        self._is_dropped = True


def _listed(given: Sequence[TrackerLike]) -> Sequence[TrackerLike]:
    """Raise SpecError unless this is a list of what can be a tracker."""
    if not isinstance(given, list | tuple):
        raise SpecError("trackers", f"{given!r} is no list", "write [{type: jsonl, path: …}]")
    for position, tracker in enumerate(given):
        if not isinstance(tracker, Tracker | Mapping | str):
            field, fix = f"trackers[{position}]", "write {type: jsonl, path: …}"
            raise SpecError(field, f"{tracker!r} is no tracker", fix)
    return given


def _made(given: TrackerLike, folder: Path) -> Tracker:
    if isinstance(given, Tracker):
        return given
    made: Any = make("tracker", given)
    paths = {
        field.name: folder / getattr(made, field.name)
        for field in dataclasses.fields(made)
        if field.init and isinstance(getattr(made, field.name), Path)
    }
    tracker: Tracker = dataclasses.replace(made, **paths) if paths else made
    return tracker
