"""A line: what is retuned again and again, with all that its retunes have left."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, Self

from tuneflow.errors import CorruptError, StudyNotFoundError
from tuneflow.jsonio import loads
from tuneflow.opened import SPEC_PATH, OpenStudy
from tuneflow.retune.champions import Champion, ChampionLog, Record
from tuneflow.retune.measuring import measured
from tuneflow.retune.plan import Plan
from tuneflow.retune.records import TIME, VERDICTS
from tuneflow.store import NotFound, Store

PHASES = ("champion", "search", "challenger")
"""The studies of a retune, in order."""

_MEASURED_BY: Final = re.compile(r"/retunes/(\d+)/(champion|challenger)$")
"""The end of the URL of a study that has measured a champion."""


@dataclass(frozen=True)
class Line:
    """One prefix in a storage: perhaps a study, its champions, and its retunes.

    Attributes:
        store: the store of the prefix.
        log: who was and is the champion.
    """

    store: Store
    log: ChampionLog

    @classmethod
    def open(cls, url: str) -> Self:
        """Read the line at a URL: that of a study, or of earlier retunes; it may be empty."""
        store = Store(url)
        log = ChampionLog(store)
        log.read()
        return cls(store, log)

    @property
    def url(self) -> str:
        """The URL."""
        return self.store.url

    def base(self) -> OpenStudy | None:
        """Return the study that the line began with, if it began with one."""
        return OpenStudy.open(self.url) if self.store.exists(SPEC_PATH) else None

    def retune(self, number: int) -> Retune:
        """Return a retune that has begun."""
        return Retune(self, number)

    def begun_by(self, run: str) -> Retune | None:
        """Return the newest retune that a run has begun, if it has begun any."""
        began = [r for r in self.log.records if r.type == "began" and r.data["run"] == run]
        return self.retune(began[-1].retune or 0) if began else None

    def begun_within(self, pause: timedelta) -> str | None:
        """Return a clause on the newest retune if it began less than a pause ago."""
        began = next((r for r in reversed(self.log.records) if r.type == "began"), None)
        if began is None:
            return None
        since = datetime.now(UTC) - datetime.strptime(began.at, TIME).replace(tzinfo=UTC)
        said = f"retune {began.retune} has begun at {began.at}, less than {pause} ago"
        return said if since < pause else None


@dataclass(frozen=True)
class Retune:
    """One retune of a line.

    Attributes:
        line: the line.
        number: 1, 2, 3 …
    """

    line: Line
    number: int

    @property
    def url(self) -> str:
        """The storage of its studies."""
        return f"{self.line.url}/retunes/{self.number:06d}"

    @cached_property
    def plan(self) -> Plan:
        """What it is to do."""
        return self.read_plan()

    def read_plan(self) -> Plan:
        """Return what is stored as its plan. Raises StudyNotFoundError, CorruptError."""
        path = plan_path(self.number)
        try:
            return Plan.from_json(loads(self.line.store.get(path)))
        except NotFound:
            message = f"retune {self.number} of {self.line.url} has no plan: it has not begun"
            raise StudyNotFoundError(message) from None
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptError(f"{self.line.url}/{path} is no plan of a retune: {error}") from error

    def study(self, phase: str) -> OpenStudy | None:
        """Return one of its studies (see `PHASES`), or None when it has not been made."""
        exists = Store(f"{self.url}/{phase}").exists(SPEC_PATH)
        return OpenStudy.open(f"{self.url}/{phase}") if exists else None

    def studies(self) -> Iterator[OpenStudy]:
        """Yield those of its studies that there are."""
        for phase in PHASES:
            opened = self.study(phase)
            if opened is not None:
                yield opened

    def notes(self) -> list[str]:
        """Return sentences on what the search was told of earlier results."""
        try:
            return [str(note) for note in loads(self.line.store.get(self.notes_path))["notes"]]
        except NotFound:
            return []

    @property
    def notes_path(self) -> str:
        """Where those are kept, below the line; nothing depends on them."""
        return f"retunes/{self.number:06d}/warm_start.json"

    @property
    def began(self) -> Record:
        """The record of its beginning."""
        return next(
            r for r in self.line.log.records if r.type == "began" and r.retune == self.number
        )

    @property
    def before(self) -> Champion | None:
        """The champion when it began."""
        return champion_at(self.line.log, self.began.number)

    def verdict(self) -> Record | None:
        """Return what it ended with: a champion promoted or kept; None when that is open."""
        self.line.log.refresh()
        found = self.line.log.verdict_of(self.number)
        return found if found is not None and found.type in VERDICTS else None

    def require_current(self) -> None:
        """Raise StudyConflictError when this retune may not say who is the champion any more."""
        self.line.log.refresh()
        self.line.log.require_current(self.number)

    def summary(self, verdict: Record) -> dict[str, Any]:
        """Return a verdict as pipelines pass it on.

        It has ``line``, ``retune``, ``promoted``, ``reason`` and ``champion``, which is None where
        there is none.
        """
        return {
            "line": self.line.url,
            "retune": self.number,
            "promoted": verdict.type == "promoted",
            "reason": verdict.data["reason"],
            "champion": verdict.data["champion"],
        }

    @property
    def compared_with(self) -> int:
        """The retune that had measured its champion last; 0 for the study of the line."""
        before = self.before
        found = _MEASURED_BY.search(before.study) if before is not None else None
        return int(found[1]) if found else 0

    def drift(self) -> float:
        """Return how the champion's value has moved from its last measurement to this one's.

        0 when there was no champion, or one of the two has no value.
        """
        before, opened = self.before, self.study("champion")
        if before is None or opened is None or not opened.history.trials:
            return 0.0
        moved = measured(opened, self.plan).value - before.value
        return moved if math.isfinite(moved) else 0.0


def plan_path(number: int) -> str:
    """Return where the plan of a retune is stored, below the line."""
    return f"retunes/{number:06d}/plan.json"


def encode_plan(plan: Plan) -> bytes:
    """Return a plan as it is stored."""
    return json.dumps(plan.to_json(), indent=2, allow_nan=False).encode()


def champion_at(log: ChampionLog, number: int) -> Champion | None:
    """Return who was the champion when a record was written."""
    earlier = (record.champion for record in reversed(log.records[: number - 1]))
    return next((champion for champion in earlier if champion is not None), None)
