"""The champion log of a line: who is the champion, who was, and why.

Record n is the object ``champions/<n>.json``. It is created with a conditional write and never
changed, as the entries of a journal are, so of two writers that want the same number one wins,
and the other looks again at whether its record still holds.

What a retune may write is fenced: only the newest one may change the champion, and only while
nobody has rolled the champion back since it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from tuneflow.errors import (
    CorruptError,
    SpecError,
    StorageError,
    StudyConflictError,
    StudyNotFoundError,
)
from tuneflow.jsonio import dumps
from tuneflow.retune.records import TIME, VERDICTS, Champion, Record
from tuneflow.store import AlreadyExists, Store

__all__ = ["Champion", "ChampionLog", "Record"]

_FOLDER = "champions/"
_ENDS = (*VERDICTS, "failed")


def record_path(number: int) -> str:
    """Return where a record lies, relative to the line."""
    return f"{_FOLDER}{number:020d}.json"


class ChampionLog:
    """The champion log of one line.

    Args:
        store: the line's own store.
        now: returns the time that records are given. Default: the clock.

    Attributes:
        records: what has been read or written so far, in order.
    """

    def __init__(self, store: Store, now: Callable[[], datetime] | None = None) -> None:
        self._store = store
        self._now = now or _utc_now
        self.records: list[Record] = []

    def read(self) -> Self:
        """Read what there is, and return the log. Raises see `refresh`."""
        self.refresh()
        return self

    def refresh(self) -> list[Record]:
        """Read what others have written since, and return it.

        Raises:
            CorruptError: a record is missing, torn or altered.
            StorageError: the storage cannot be read.
        """
        known = len(self.records)
        listed = self._store.list(_FOLDER, record_path(known) if known else "")
        paths = [path for path in listed if path.endswith(".json")]
        for path, data in zip(paths, self._store.get_many(paths), strict=True):
            self._take_in(path, data)
        return self.records[known:]

    def _take_in(self, path: str, data: bytes | None) -> None:
        number, url = self._next, self._store.url
        if path != record_path(number) or data is None:
            missing = record_path(number)
            raise CorruptError(f"{url}/{missing} is missing, but {path} is there")
        record = Record.from_bytes(data, f"{url}/{path}")
        if record.number != number:
            raise CorruptError(f"{url}/{path} holds record {record.number}")
        if record.type == "rolled_back" and not self._has_champion(record.data["to"]):
            raise CorruptError(
                f"{url}/{path} goes back to record {record.data['to']}, which has no champion"
            )
        self.records.append(record)

    @property
    def _next(self) -> int:
        return len(self.records) + 1

    def _has_champion(self, number: int) -> bool:
        is_there = 1 <= number < self._next
        return is_there and self.records[number - 1].champion is not None

    @property
    def champion(self) -> Champion | None:
        """The champion as it was measured last; None while there is none."""
        record = self.champion_record
        return None if record is None else record.champion

    @property
    def champion_record(self) -> Record | None:
        """The record that says who is the champion; None while there is none."""
        return self._champion_before(self._next)

    def _champion_before(self, number: int) -> Record | None:
        """Return the newest record before a number that says who is the champion."""
        earlier = reversed(self.records[: number - 1])
        return next((record for record in earlier if record.data.get("champion")), None)

    @property
    def newest_retune(self) -> int:
        """The number of the newest retune; 0 while there is none."""
        began = self._newest_began
        return 0 if began is None or began.retune is None else began.retune

    @property
    def _newest_began(self) -> Record | None:
        return next((one for one in reversed(self.records) if one.type == "began"), None)

    def open_retune(self, run: str) -> int | None:
        """Return the retune that a run has begun and may go on with; None when there is none.

        It has no verdict, and nothing has overtaken it. One that has failed may be gone on with.
        """
        began = self._newest_began
        if began is None or began.data["run"] != run:
            return None
        later = self.records[began.number :]
        is_over = any(one.type in VERDICTS or one.type == "rolled_back" for one in later)
        return None if is_over else began.retune

    def verdict_of(self, retune: int) -> Record | None:
        """Return how a retune ended: promoted, kept or failed; None while that is open."""
        ends = (r for r in reversed(self.records) if r.retune == retune and r.type in _ENDS)
        return next(ends, None)

    def begin(self, *, run: str, data_version: str = "", trigger: str = "") -> int:
        """Begin a retune, which overtakes the one before, and return its number.

        A run that has one to go on with gets that one: see `open_retune`.

        Args:
            run: tells this run of a pipeline from all others.
            data_version: which data it is about.
            trigger: what set it off.

        Raises:
            StorageError: it is not known to have begun.
        """
        said = {"run": run, "data_version": data_version, "trigger": trigger}
        while True:
            number = self.open_retune(run)
            if number is not None:
                return number
            number = self.newest_retune + 1
            if self._create("began", said, number) is not None:
                return number

    def append(self, type: str, data: Mapping[str, Any], *, retune: int | None) -> Record:  # noqa: A002
        """Write a record, unless something has happened that forbids it.

        What is written already is not written again: a twin, or a task that is tried again, gets
        the record that is there.

        Args:
            type: "promoted", "kept" or "failed"; or "rolled_back", which is always allowed.
            data: the rest of the record, without the time.
            retune: whose record it is; 0 for the best of the study that the line began with;
                None for a rollback.

        Raises:
            StudyConflictError: the retune was overtaken, or has another verdict already.
            StudyNotFoundError: the retune has not begun.
            StorageError: it is not known to be written.
        """
        while True:
            known = None if retune is None else self._written(type, data, retune)
            if known is not None:
                return known
            if retune is not None:
                self.require_current(retune)
            written = self._create(type, data, retune)
            if written is not None:
                return written

    def _create(self, type: str, data: Mapping[str, Any], retune: int | None) -> Record | None:  # noqa: A002
        """Write the next record; None, with what is new taken in, when its number is taken."""
        at = self._now().astimezone(UTC).strftime(TIME)
        path = record_path(self._next)
        stored = Record(self._next, type, retune, {**data, "at": at}).to_bytes()
        # As it will be read: nothing that cannot be is ever written.
        record = Record.from_bytes(stored, path)
        try:
            self._store.create(path, stored)
        except AlreadyExists:
            if not self.refresh():
                place = f"{self._store.url}/{path}"
                raise StorageError(f"{place} exists, but the storage does not list it") from None
            return None
        self.records.append(record)
        return record

    def _written(self, type: str, data: Mapping[str, Any], retune: int) -> Record | None:  # noqa: A002
        """Return the record of a retune that says the same, times aside, if it is its newest."""
        record = self.verdict_of(retune)
        if record is None or record.type != type:
            return None
        said = {key: value for key, value in record.data.items() if key != "at"}
        return record if dumps(said) == dumps(data) else None

    def require_current(self, retune: int) -> None:
        """Make sure that a retune may still say who is the champion.

        Raises:
            StudyConflictError: it was overtaken by a newer retune or by a rollback, or has ended;
                or it is retune 0, and there is a champion already.
            StudyNotFoundError: it has not begun.
        """
        if retune == 0:
            if self.champion_record is not None:
                raise StudyConflictError(f"{self._store.url} has a champion already")
            return
        for record in self._since(retune):
            said = self._conflict(record, retune)
            if said:
                raise StudyConflictError(said)

    def _since(self, retune: int) -> Sequence[Record]:
        """Return what was written since a retune began."""
        for record in self.records:
            if record.type == "began" and record.retune == retune:
                return self.records[record.number :]
        raise StudyNotFoundError(f"retune {retune} of {self._store.url} has not begun")

    def _conflict(self, record: Record, retune: int) -> str:
        """Return why a retune may write nothing after a record; empty if it may."""
        mine = f"retune {retune} of {self._store.url}"
        if record.type == "began":
            newer = f"retune {record.retune} (run {record.data['run']})"
            return f"{mine} was overtaken by {newer}; the champion is as that one leaves it"
        if record.type == "rolled_back":
            newer = f"the rollback of {record.at} (record {record.number})"
            return f"{mine} was overtaken by {newer}; the champion is as that one leaves it"
        if record.type in VERDICTS:
            return f"{mine} has ended already: record {record.number} is '{record.type}'"
        return ""

    def predecessor(self) -> Record | None:
        """Return the record of the champion before the present one; None when there is none.

        After a rollback that is the champion before the one which is back, so that rolling back
        again goes further back.
        """
        present = self.champion_record
        made = None if present is None else self.made_by(present)
        return None if made is None else self._champion_before(made.number)

    def made_by(self, record: Record) -> Record:
        """Return the record of the promotion of the champion that a record has."""
        while record.type != "promoted":
            if record.type == "rolled_back":
                record = self.records[record.data["to"] - 1]
                continue
            before = self._champion_before(record.number)
            if before is None:
                break
            record = before
        return record

    @property
    def under_way(self) -> Record | None:
        """The record of the beginning of the newest retune, if it has not ended yet."""
        began = self._newest_began
        later = self.records[began.number :] if began is not None else ()
        return None if later else began

    def roll_back(self, to: int | None = None, reason: str = "") -> Record:
        """Make an earlier champion the champion again, and overtake the retune under way.

        Args:
            to: the number of the record that has it. Default: the champion before this one.
            reason: why, for the record.

        Raises:
            SpecError: there is no such record, it has no champion, or it is the present one.
            StorageError: it is not known to be written.
        """
        present = self.champion_record
        if present is None:
            raise SpecError("to", f"{self._store.url} has no champion to roll back")
        found = self.predecessor() if to is None else self._earlier(to, present)
        if found is None:
            raise SpecError("to", f"{self._store.url} has had no champion before this one")
        said = {"to": found.number, "champion": found.data["champion"], "reason": reason}
        return self.append("rolled_back", said, retune=None)

    def _earlier(self, number: int, present: Record) -> Record:
        """Return a record with a champion that is not the present one."""
        earlier = {r.number: r for r in self.records if r.data.get("champion") and r is not present}
        known = ", ".join(map(str, earlier))
        fix = f"those that have one are {known}" if known else "no other record has one"
        if number in (present.number, present.data.get("to")):
            raise SpecError("to", f"the champion of record {number} is the present one", fix)
        if number not in earlier:
            raise SpecError("to", f"there is no record {number} with a champion", fix)
        return earlier[number]


def _utc_now() -> datetime:
    return datetime.now(UTC)
