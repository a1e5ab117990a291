"""The tables of the report: its trials, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuneflow.convert import flatten, trial_values
from tuneflow.history import History
from tuneflow.trial import Trial, TrialState
from tuneflow.views import text

MOST_ROWS = 2_000


@dataclass(frozen=True)
class Cell:
    """One cell of the table: what it shows, and what it is sorted by."""

    shown: str
    key: float | str | None


@dataclass(frozen=True)
class Row:
    """One trial of the table; it is marked when it is the best one, or in the front."""

    state: str
    is_marked: bool
    cells: tuple[Cell, ...]
    note: str


@dataclass(frozen=True)
class Table:
    """The table of trials; ``total`` counts those that it leaves out, too."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    total: int


def trials_table(history: History) -> Table:
    """Return the trials of a study as the report lists them."""
    front = {trial.number for trial in _marked(history)}
    trials = _shown(history, front)
    flat = {trial.number: flatten(trial.params) for trial in trials}
    names = tuple(dict.fromkeys(name for params in flat.values() for name in params))
    metrics = [metric for metric, _ in history.objectives]
    bounds = ["bounds"] if history.constraints else []
    rows = tuple(
        Row(
            trial.state.value,
            trial.number in front,
            tuple(_cells(history, trial, flat[trial.number], names)),
            _note(trial),
        )
        for trial in trials
    )
    columns = ("trial", "state", *metrics, "at", *bounds, *names)
    return Table(columns, rows, len(history.trials))


def front_rows(history: History) -> list[tuple[int, list[tuple[str, str]], str]]:
    """Return number, metrics and configuration of the Pareto front, best first metric on top."""
    front = sorted(history.pareto_front(), key=history.trial_losses)[:MOST_ROWS]
    return [(t.number, metrics_of(history, t), text.config(t.params)) for t in front]


def metrics_of(history: History, trial: Trial) -> list[tuple[str, str]]:
    """Return the metrics that are optimised, and a trial's values, as texts."""
    names = [metric for metric, _ in history.objectives]
    values = (text.number(value, 6) for value in trial_values(history, trial))
    return list(zip(names, values, strict=True))


def _marked(history: History) -> list[Trial]:
    if len(history.objectives) > 1:
        return history.pareto_front()
    best = history.best()
    return [] if best is None else [best]


def _shown(history: History, front: set[int]) -> list[Trial]:
    """Return the trials of the table: all, or the best ones and some of the failed."""
    if len(history.trials) <= MOST_ROWS:
        return history.trials
    failed = [t for t in history.trials if t.state is TrialState.FAILED][: MOST_ROWS // 10]
    others = (t for t in history.trials if t.state is not TrialState.FAILED)
    ranked = sorted(others, key=lambda t: (t.number not in front, history.trial_loss(t)))
    best = ranked[: MOST_ROWS - len(failed)]
    return sorted([*best, *failed], key=lambda trial: trial.number)


def _cells(
    history: History, trial: Trial, params: dict[str, Any], names: Sequence[str]
) -> Iterator[Cell]:
    yield Cell(str(trial.number), trial.number)
    yield Cell(trial.state.value, trial.state.value)
    for value in trial_values(history, trial):
        yield Cell(text.number(value), value)
    yield Cell(text.number(trial.resource), trial.resource)
    if history.constraints:
        shown = text.bounds(history, trial)
        yield Cell(shown, shown)
    for name in names:
        yield _parameter(params[name]) if name in params else Cell("", None)


def _parameter(value: Any) -> Cell:
    shown = text.parameter(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(shown, value if is_number else shown)


def _note(trial: Trial) -> str:
    if trial.failure is not None and trial.state is TrialState.FAILED:
        return text.clean(str(trial.failure))
    return text.clean(trial.stopping or "")
