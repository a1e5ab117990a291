"""Reports on their way to the driver: each counts once its checkpoint is stored.

A checkpoint is stored by a thread while the trial goes on, one at a time and in the order of the
reports. What has been reported since waits behind it, so whatever the driver knows of is durable.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from tuneflow.checkpoint_files import find_files
from tuneflow.checkpoints import Checkpoints
from tuneflow.objective.stream import RawReport
from tuneflow.trial import Report, Resource, Segment, checkpoint_ref

Save: TypeAlias = Callable[[Path, Sequence[Report]], object]
"""Stores a file or folder as the checkpoint of the last of the reports."""

AT_ONCE = 2
"""So many checkpoints of a trial lie in its scratch space: one is being stored, one waits."""


class Reports:
    """The reports of one run of a segment.

    All methods but `nudge` are called by one thread, the worker's.

    Args:
        segment: what is run.
        checkpoints: the study's.
        emit: told each report once it counts.
        wake: called from another thread when `tell` may have something to tell.
        background: whether the trial goes on while a checkpoint is being stored.

    Attributes:
        made: what the objective reported, and an earlier run of the segment before it.
        told: those of them that count.
    """

    def __init__(
        self,
        segment: Segment,
        checkpoints: Checkpoints,
        emit: Callable[[Report], None],
        *,
        wake: Callable[[], None],
        background: bool,
    ) -> None:
        self.made: list[Report] = []
        self.told: list[Report] = []
        self._segment = segment
        self._checkpoints = checkpoints
        self._emit = emit
        self._saver = Saver(self._save, wake, background=background)

    @property
    def level(self) -> Resource:
        """The level that is reached."""
        return self.made[-1].resource if self.made else self._segment.start

    def replay(self, reports: Sequence[Report]) -> None:
        """Take in what was reported before, and stored."""
        for report in reports:
            self.made.append(report)
            self._saver.add([report])

    def accept(self, raw: RawReport, scratch: Path) -> None:
        """Take a report in; `tell` tells it once its checkpoint is stored.

        Args:
            raw: the report.
            scratch: a folder for a copy of the checkpoint, if one has to be made.
        """
        report = Report(raw.resource, raw.metrics, None, time.time())
        if raw.checkpoint is None:
            self.replay([report])
            return
        ref = checkpoint_ref(*self._segment.key, raw.resource)
        self.made.append(replace(report, checkpoint=ref))
        self._saver.add_checkpoint(
            tuple(self.made), raw.checkpoint, temporary=raw.temporary, scratch=scratch
        )

    def amend(self, source: Path, scratch: Path) -> None:
        """Store a checkpoint of the newest report after all; it is told once more, with that.

        Args:
            source: the checkpoint.
            scratch: see `accept`.
        """
        newest = self.made.pop()
        ref = checkpoint_ref(*self._segment.key, newest.resource)
        self.made.append(replace(newest, checkpoint=ref))
        self._saver.add_checkpoint(tuple(self.made), source, temporary=False, scratch=scratch)

    def tell(self) -> None:
        """Tell the reports that count by now. Raises what storing a checkpoint raised."""
        while reports := self._saver.take():
            for report in reports:
                self.told.append(report)
                self._emit(report)

    def tell_all(self, given_up: Callable[[], bool]) -> None:
        """Wait until all that was reported is stored, and tell it, unless that is given up.

        Raises like `tell`. `nudge` has ``given_up`` asked again.
        """
        self.tell()
        while self.pending and not given_up():
            self.wait()
            self.tell()

    @property
    def pending(self) -> bool:
        """Whether something that was reported does not count yet."""
        return self._saver.pending

    @property
    def must_wait(self) -> bool:
        """Whether the objective has to wait before it goes on; see `wait`."""
        return self._saver.must_wait

    def wait(self) -> None:
        """Wait until a checkpoint is stored, or cannot be, or `nudge` is called."""
        self._saver.wait()

    def nudge(self) -> None:
        """Make `wait` return, or the next one. Safe from any thread."""
        self._saver.nudge()

    def drop(self) -> None:
        """Give up what is not stored yet, without waiting for what is being stored."""
        self._saver.drop()

    def _save(self, path: Path, reports: Sequence[Report]) -> None:
        """Store a checkpoint, with all that the segment reported, from which to go on."""
        newest = reports[-1]
        data = [report.to_json() for report in reports]
        assert newest.checkpoint is not None  # noqa: S101 - it is what is stored
        self._checkpoints.save(newest.checkpoint, path, resource=newest.resource, reports=data)


@dataclass(eq=False)
class _Entry:
    """A report that does not count yet, with all of its segment up to it.

    Attributes:
        reports: the report and those before it.
        source: what is to be stored first; None where that is done, or there is nothing.
        owned: whether ``source`` is a copy of ours.
    """

    reports: Sequence[Report]
    source: Path | None = None
    owned: bool = False

    def store(self, save: Save) -> None:
        """Store the checkpoint, and remove our copy."""
        assert self.source is not None  # noqa: S101 - others are not stored
        try:
            save(self.source, self.reports)
        finally:
            if self.owned:
                shutil.rmtree(self.source, ignore_errors=True)
        self.source = None


class Saver:
    """The reports of one running segment, on their way to where they count.

    All methods but `nudge` are called by one thread, the worker's.

    Args:
        save: stores a checkpoint; called by a thread of the saver's, which lives while there is
            something to store, or by `add` itself if not in the background.
        wake: called by that thread whenever a checkpoint is stored, or cannot be.
        background: whether `add` returns before the checkpoint is stored.
    """

    def __init__(self, save: Save, wake: Callable[[], None], *, background: bool) -> None:
        self._save = save
        self._wake = wake
        self._background = background
        self._entries: deque[_Entry] = deque()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()

    def add(self, reports: Sequence[Report]) -> None:
        """Take in the last of ``reports``, which has no checkpoint or one that is stored."""
        with self._lock:
            self._entries.append(_Entry(reports))

    def add_checkpoint(
        self, reports: Sequence[Report], source: Path, *, temporary: bool, scratch: Path
    ) -> None:
        """Take in the last of ``reports`` with its checkpoint.

        Args:
            reports: those of the segment up to this one.
            source: a file or folder. What is not temporary is copied first, since the objective
                may write to it again as soon as it goes on.
            temporary: whether it is ours, to be removed once it is stored.
            scratch: a folder for the copy.

        Raises:
            SpecError: ``source`` holds what no checkpoint can hold.
        """
        entry = _Entry(reports, source, temporary)
        if not self._background:
            entry.store(self._save)
        elif not temporary:
            entry.source, entry.owned = _kept(source, scratch / str(len(reports)))
        with self._lock:
            self._entries.append(entry)
            if self._thread is None and entry.source is not None and self._error is None:
                self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
                self._thread.start()

    def take(self) -> list[Report]:
        """Return the reports that count now and did not before, in order.

        Raises what the storing of the next one raised, once those before it are taken.
        """
        counted: list[Report] = []
        with self._lock:
            while self._entries and self._entries[0].source is None:
                counted.append(self._entries.popleft().reports[-1])
            if not counted and self._error is not None:
                raise self._error
        return counted

    @property
    def pending(self) -> bool:
        """Whether something reported does not count yet."""
        with self._lock:
            return bool(self._entries)

    @property
    def must_wait(self) -> bool:
        """Whether the objective has to wait: for room, or because it could not be copied from."""
        with self._lock:
            unsaved = [entry for entry in self._entries if entry.source is not None]
            return len(unsaved) >= AT_ONCE or any(not entry.owned for entry in unsaved)

    def wait(self) -> None:
        """Wait until a checkpoint is stored, or cannot be, or `nudge` is called."""
        self._changed.wait()
        self._changed.clear()

    def nudge(self) -> None:
        """Make `wait` return, or the next one. Safe from any thread."""
        self._changed.set()

    def drop(self) -> None:
        """Give up what is not stored yet, without waiting for what is being stored."""
        with self._lock:
            self._entries.clear()

    def _work(self) -> None:
        """Store what there is; runs in the thread."""
        while (entry := self._next()) is not None:
            try:
                entry.store(self._save)
            except BaseException as error:  # noqa: BLE001 - it is raised in the worker's thread
                with self._lock:
                    self._error = error
            self._changed.set()
            self._wake()

    def _next(self) -> _Entry | None:
        """Return what to store next; None ends the thread."""
        with self._lock:
            unsaved = (entry for entry in self._entries if entry.source is not None)
            entry = None if self._error is not None else next(unsaved, None)
            if entry is None:
                self._thread = None
            return entry


def _kept(source: Path, target: Path) -> tuple[Path, bool]:
    """Return where a checkpoint's files stay as they are, and whether that is a copy of ours.

    Where there is no room for a copy, the objective has to wait until the files are stored.
    """
    try:
        snapshot(source, target)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        return source, False
    return target, True


def snapshot(source: Path, target: Path) -> None:
    """Copy a checkpoint's files into a new folder; file systems that can do so share the blocks.

    Raises SpecError like `find_files`.
    """
    files = find_files(source)
    target.mkdir(parents=True)
    for name, file in files.items():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        _copy(file, copy)


def _copy(source: Path, target: Path) -> None:
    """Copy a file within the kernel if it can."""
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
                pass
    except (OSError, AttributeError):
        # Another file system, an old kernel or another system.
        shutil.copyfile(source, target)
