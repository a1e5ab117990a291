"""Short texts for people: numbers, durations, configurations, failures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.convert import flatten, trial_values
from tuneflow.history import History
from tuneflow.nearest import why_no_best
from tuneflow.study import Study
from tuneflow.trial import Failure, Mode, Params, Trial, TrialState

STATES = (
    TrialState.RUNNING,
    TrialState.PAUSED,
    TrialState.COMPLETED,
    TrialState.STOPPED,
    TrialState.FAILED,
)
"""Every state, in the order in which a trial passes through them."""

_LONGEST = 200
"""Characters of a field of a scheduler or searcher."""

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


def plural(count: int, noun: str, form: str = "") -> str:
    """Return ``1 trial`` or ``2 trials``, the number in a form such as ","."""
    return f"{count:{form}} {noun}" if count == 1 else f"{count:{form}} {noun}s"


def state_counts(history: History) -> str:
    """Return how many trials are in each state, leaving out the empty ones."""
    counts = ((history.counts[state], state.value) for state in STATES)
    return ", ".join(f"{count} {state}" for count, state in counts if count) or "no trials"


def late(history: History) -> str | None:
    """Return how many configurations the searcher was too slow for; None when there are none."""
    if not history.late:
        return None
    count = f"{history.late:,} of {plural(len(history.trials), 'configuration', ',')}"
    were = "was" if history.late == 1 else "were"
    return f"{count} {were} drawn at random because the searcher was late"


def objective(data: Mapping[str, Any]) -> str:
    """Return what a study optimises, as its spec names it."""
    if len(data) != 1:
        return json.dumps(dict(data), ensure_ascii=False)
    (value,) = data.values()
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(dict(data), ensure_ascii=False)


def plugin(data: Mapping[str, Any]) -> str:
    """Return a scheduler or searcher as ``asha (max_resource=81)``, long fields cut off."""
    values = {key: parameter(value) for key, value in data.items() if key != "type"}
    short = {k: v if len(v) <= _LONGEST else f"{v[: _LONGEST - 1]}…" for k, v in values.items()}
    fields = ", ".join(f"{key}={value}" for key, value in short.items())
    return f"{data['type']} ({fields})" if fields else str(data["type"])


def stoppers(study: Study) -> str | None:
    """Return what ends trials, or the study, beside the scheduler; None when nothing does."""
    return ", ".join(plugin(stopper.to_json()) for stopper in study.stop) or None


def goal(study: Study) -> str:
    """Return ``highest accuracy``, or ``highest accuracy, lowest size, where latency <= 100``."""
    wanted = ", ".join(f"{extreme(mode)} {clean(metric)}" for metric, mode in study.objectives)
    bounds = " and ".join(clean(bound) for bound in study.constraints)
    return f"{wanted}, where {bounds}" if bounds else wanted


def extreme(mode: Mode) -> str:
    """Return ``highest`` or ``lowest``."""
    return "highest" if mode == "max" else "lowest"


def no_best(history: History) -> str:
    """Say that there is no best trial yet, and why."""
    return f"no trial yet {clean(why_no_best(history, quote=''))}"


def results(history: History, trial: Trial, digits: int = 5) -> str:
    """Return the metrics that are optimised, such as ``accuracy 0.94, size 12``."""
    names = (clean(metric) for metric, _ in history.objectives)
    values = trial_values(history, trial)
    pairs = zip(names, values, strict=True)
    return ", ".join(f"{name} {number(value, digits)}" for name, value in pairs)


def bounds(history: History, trial: Trial) -> str:
    """Return ``kept`` or ``broken``; a dash where that is not known."""
    if history.usable_report(trial) is None:
        return "-"
    return "kept" if history.trial_violation(trial) == 0 else "broken"


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
