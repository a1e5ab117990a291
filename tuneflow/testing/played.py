"""Studies that are played for the suites: what is proposed, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from tuneflow.events import Closed, Fact, Launched, Reported
from tuneflow.history import History
from tuneflow.searchers.base import LATER, Searcher
from tuneflow.space import Space
from tuneflow.trial import Mode, Params, Report

METRIC: Final = "loss"

SECOND: Final = "size"
"""What a study of several metrics optimises beside it."""

BOUNDED: Final = "cost"
"""What the constraint of a study is on."""

_OPEN: Final = 5
"""Every so many trials do not report the metric that has a bound."""

ENDINGS: Final = (
    "completed",
    "stopped",
    "paused",
    "resumed",
    "reporting",
    "silent",
    "failed",
    "retried",
    "nan",
    "missing",
)
"""What may become of a trial; see `ending`."""


def history_of(modes: tuple[Mode, ...], bounded: bool) -> History:
    """Return the history of a study of one or two metrics, and of one bound or none."""
    others = dict(zip((SECOND,), modes[1:], strict=False))
    constraints = (f"{BOUNDED} <= 0.1",) if bounded else ()
    return History(METRIC, modes[0], other_metrics=others, constraints=constraints)


def _values(space: Space, params: Params, history: History) -> dict[str, float]:
    """Return what a trial reports: each metric is smallest somewhere else."""
    values = {}
    for position, (name, mode) in enumerate(history.objectives):
        value = value_of(space, params, 0.4 + 0.3 * position)
        values[name] = -value if mode == "max" else value
    if history.constraints:
        values[BOUNDED] = value_of(space, params, 0.1)
    return values


def value_of(space: Space, params: Params, optimum: float = 0.4) -> float:
    """Return how far the values are from a certain point of the space."""
    domains = space.domains()
    units = (domains[path].to_unit(value) for path, value in space.values(params).items())
    return sum((unit - optimum) ** 2 for unit in units)


def play(
    searcher: Searcher, space: Space, history: History, endings: Sequence[str], count: int
) -> Iterator[Params]:
    """Yield what is proposed for the next trials, and add what becomes of them to the history.

    Args:
        searcher: proposes.
        space: the space.
        history: is added to.
        endings: of `ENDINGS`, one trial after the other, and again from the first.
        count: how many trials at most.
    """
    for _ in range(count):
        number = len(history.trials)
        params = _patiently(searcher, space, history)
        if params is None:
            return
        history.append(Launched(number, 0, None, params=params))
        values = _values(space, params, history)
        if number % _OPEN == 0:
            values.pop(BOUNDED, None)
        history.extend(ending(endings[number % len(endings)], number, **values))
        yield params


def _patiently(searcher: Searcher, space: Space, history: History) -> Params | None:
    """Return what is proposed; while that is `LATER`, the trial that runs longest fails."""
    while (params := searcher.suggest(space, history)) is LATER:
        if not history.running:
            trial = next(iter(history.retries.values()))
            history.append(Launched(trial.number, trial.segment + 1, trial.until))
        history.append(Closed(next(iter(history.running)), "failed"))
    return params


def ending(name: str, trial: int, loss: float, **others: float) -> list[Fact]:
    """Return the facts that follow the launch of a trial.

    Args:
        name: one of `ENDINGS`. A "resumed" trial was paused and runs again, a "reporting" one
            runs and has reported, a "silent" one has not, a "retried" one was lost and waits, a
            "missing" one never reports the metric.
        trial: the trial's number.
        loss: what it reports for the metric, if it does.
        others: what it reports beside it.
    """
    first = Reported(trial, Report(1, {METRIC: loss * 1.5, **others}))
    reports: list[Fact] = [first, Reported(trial, Report(2, {METRIC: loss, **others}))]
    facts: dict[str, list[Fact]] = {
        "completed": [*reports, Closed(trial, "completed")],
        "stopped": [*reports, Closed(trial, "stopped")],
        "paused": [first, Closed(trial, "paused")],
        "resumed": [first, Closed(trial, "paused"), Launched(trial, 1, None, start=1)],
        "reporting": [first],
        "silent": [],
        "failed": [first, Closed(trial, "failed")],
        "retried": [Closed(trial, "lost", retry=True)],
        "nan": [Reported(trial, Report(1, {METRIC: math.nan})), Closed(trial, "failed")],
        "missing": [Reported(trial, Report(1, {"unknown": loss})), Closed(trial, "paused")],
    }
    return facts[name]
