"""Short texts for people: numbers, durations, configurations, failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.convert import flatten
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Failure, Params, Trial, TrialState

STATES = (
    TrialState.RUNNING,
    TrialState.PAUSED,
    TrialState.COMPLETED,
    TrialState.STOPPED,
    TrialState.FAILED,
)
"""Every state, in the order in which a trial passes through them."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def clean(text: str) -> str:
    """Return text on one line in which nothing steers a terminal."""
    spaced = " ".join(text.split())
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in spaced)


def number(value: float | None, digits: int = 5) -> str:
    """Return a number with so many significant digits; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, int) and abs(value) < 10**9:
        return str(value)
    return f"{value:.{digits}g}"


def parameter(value: Any) -> str:
    """Return one value of a configuration."""
    if isinstance(value, float):
        return number(value)
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def config(params: Params) -> str:
    """Return a configuration on one line, such as ``lr=0.012 act=relu``."""
    return "  ".join(f"{clean(name)}={parameter(v)}" for name, v in flatten(params).items())


def duration(seconds: float) -> str:
    """Return seconds as ``0:07``, ``12:34``, ``1:02:03`` or ``2 d 03:04:05``."""
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute}:{second:02d}"
    days, hour = divmod(hours, 24)
    if not days:
        return f"{hour}:{minute:02d}:{second:02d}"
    return f"{days} d {hour:02d}:{minute:02d}:{second:02d}"


def plural(count: int, noun: str) -> str:
    """Return ``1 trial`` or ``2 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def state_counts(history: History) -> str:
    """Return how many trials are in each state, leaving out the empty ones."""
    counts = ((history.counts[state], state.value) for state in STATES)
    return ", ".join(f"{count} {state}" for count, state in counts if count) or "no trials"


def objective(data: Mapping[str, Any]) -> str:
    """Return what a study optimises, as its spec names it."""
    if len(data) != 1:
        return json.dumps(dict(data), ensure_ascii=False)
    (value,) = data.values()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(dict(data), ensure_ascii=False)


def plugin(data: Mapping[str, Any]) -> str:
    """Return a scheduler or searcher as ``asha (max_resource=81)``."""
    fields = ", ".join(f"{key}={parameter(value)}" for key, value in data.items() if key != "type")
    return f"{data['type']} ({fields})" if fields else str(data["type"])


def goal(study: Study) -> str:
    """Return ``highest accuracy`` or ``lowest loss``."""
    return f"{'highest' if study.mode == 'max' else 'lowest'} {clean(study.metric)}"


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures that read alike, numbers in their messages aside.

    Attributes:
        failure: the first of them.
        trials: the numbers of the trials that failed so.
    """

    failure: Failure
    trials: tuple[int, ...]


def failure_groups(trials: Iterable[Trial]) -> list[FailureGroup]:
    """Group the trials that failed for good by what they say, the largest group first."""
    groups: dict[tuple[str, str], tuple[Failure, list[int]]] = {}
    for trial in trials:
        if trial.state is TrialState.FAILED and trial.failure is not None:
            failure = trial.failure
            key = failure.kind, _NUMBER.sub("#", failure.message)
            groups.setdefault(key, (failure, []))[1].append(trial.number)
    found = [FailureGroup(failure, tuple(numbers)) for failure, numbers in groups.values()]
    return sorted(found, key=lambda group: -len(group.trials))
