"""A local file with a line of JSON for whatever happens to a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from tuneflow.convert.rows import METRICS, PARAMS, flatten
from tuneflow.errors import SpecError
from tuneflow.events import Closed, Fact, Finished, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.jsonio import dumps, encode_metrics
from tuneflow.study import Study
from tuneflow.trackers.base import Tracker
from tuneflow.trial import Trial, TrialState


@dataclass
class JsonLines(Tracker):
    """Appends to a file one JSON object for each report, and each beginning and end of a trial.

    The objects are flat, and have ``event`` and ``trial``. By ``event``:

    * ``start``: ``bracket``, and ``params.NAME`` for each parameter;
    * ``clone``: when a trial goes on from another one: that ``source``, and the parameters;
    * ``change``: when it goes on with other parameters of its own: the parameters;
    * ``report``: ``resource``, and ``metrics.NAME`` for each metric, where "NaN", "Infinity" and
      "-Infinity" are strings;
    * ``end``: ``state`` (completed, stopped or failed), ``resource``, and ``reason`` of a stop and
      ``failure``, or null. A trial that failed and is tried again ends once more.

    The lines follow from the journal alone. So a driver that finds the file there already adds
    what is missing, the rest of a torn line too, and there is no line twice.

    Args:
        path: the file, for this study alone. It is made if it is not there, its folder too.
    """

    type: ClassVar[str] = "jsonl"

    path: Path | str

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        self._file: BinaryIO | None = None

    def open(self, study: Study, url: str, history: History) -> None:
        """Open the file, and add what is missing there. Raises SpecError if it is no such file."""
        self._seen = study.history()
        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._file.seek(0)
        there = self._file.read()
        wanted = self._take_in(history.facts)
        if not wanted.startswith(there):
            problem = f"{path} holds something else than the lines of {url}"
            raise SpecError("tracker.path", problem, "give each study a file of its own")
        self._append(wanted[len(there) :])

    def __call__(self, history: History, facts: Sequence[Fact]) -> None:
        """Append the lines of a commit."""
        self._append(self._take_in(facts))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, lines: bytes) -> None:
        assert self._file is not None  # noqa: S101 - narrowed for the type checker
        self._file.write(lines)
        self._file.flush()

    def _take_in(self, facts: Sequence[Fact]) -> bytes:
        """Return the lines that follow from the next facts."""
        events = (event for fact in facts for event in self._events(fact))
        return "".join(f"{dumps(event)}\n" for event in events).encode()

    def _events(self, fact: Fact) -> Iterator[dict[str, Any]]:
        seen = self._seen
        ending = _may_end(seen, fact)
        seen.append(fact)
        if isinstance(fact, Launched) and fact.params is not None:
            yield _beginning(fact)
        elif isinstance(fact, Reported):
            metrics = encode_metrics(fact.report.metrics)
            event = {"event": "report", "trial": fact.trial, "resource": fact.report.resource}
            yield event | {f"{METRICS}{name}": value for name, value in metrics.items()}
        yield from (_end(trial) for trial in ending if trial.state.is_final)


def _may_end(history: History, fact: Fact) -> list[Trial]:
    """Return the trials that the next fact can end."""
    if isinstance(fact, Closed | Stopped):
        return [history.trials[fact.trial]]
    if isinstance(fact, Finished):
        return [trial for trial in history.trials if trial.state is TrialState.PAUSED]
    return []


def _beginning(fact: Launched) -> dict[str, Any]:
    params = {f"{PARAMS}{name}": value for name, value in flatten(fact.params or {}).items()}
    if fact.source is not None:
        return {"event": "clone", "trial": fact.trial, "source": fact.source, **params}
    if fact.segment:
        return {"event": "change", "trial": fact.trial, **params}
    return {"event": "start", "trial": fact.trial, "bracket": fact.bracket, **params}


def _end(trial: Trial) -> dict[str, Any]:
    return {
        "event": "end",
        "trial": trial.number,
        "state": trial.state.value,
        "resource": trial.resource,
        "reason": trial.stopping,
        "failure": str(trial.failure) if trial.failure is not None else None,
    }
