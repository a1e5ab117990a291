"""Trials as flat rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tuneflow.history import History
from tuneflow.jsonio import encode_float
from tuneflow.searchers.repeat import repeat_of
from tuneflow.study import Study
from tuneflow.trial import Params, Trial

PARAMS = "params."
METRICS = "metrics."
COLUMNS = (
    "trial",
    "state",
    "value",
    "resource",
    "bracket",
    "segments",
    "reports",
    "reason",
    "failure",
    "checkpoint",
    "source",
)
"""The columns that every row has."""


def flatten(params: Params, prefix: str = "") -> dict[str, Any]:
    """Return a configuration with dotted names: ``{"model": {"lr": 1}}`` has ``model.lr``."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def trial_value(history: History, trial: Trial) -> float | None:
    """Return the newest usable value of the study's metric, or None when there is none."""
    loss = history.trial_loss(trial)
    if loss == math.inf:
        return None
    return -loss if history.mode == "max" else loss


def trial_values(history: History, trial: Trial) -> list[float | None]:
    """Return a value for each metric of the study, from a trial's newest report with all of them.

    Of a study with one metric it is that of `trial_value`. All are None when there is no report.
    """
    report = history.usable_report(trial)
    names = [metric for metric, _ in history.objectives]
    return [None if report is None else report.metrics[metric] for metric in names]


def rows(study: Study, history: History) -> list[dict[str, Any]]:
    """Return a flat dict of JSON values for each trial, by number.

    Beside the columns that every row has, there is ``params.NAME`` for each parameter and
    ``metrics.NAME`` for each metric of the newest report. Non-finite metrics are the strings
    "NaN", "Infinity" and "-Infinity". Where there are constraints, ``feasible`` says whether a
    trial keeps them; where there are several metrics, ``front`` whether it is in the Pareto front;
    where configurations are repeated, ``group`` counts them.
    """
    table = [_row(history, trial) for trial in history.trials]
    repeat = repeat_of(study.searcher)
    if repeat is not None:
        for row in table:
            row["group"] = row["trial"] // repeat.repeats
    if history.constraints:
        for row, trial in zip(table, history.trials, strict=True):
            row["feasible"] = history.trial_violation(trial) == 0
    if len(history.objectives) > 1:
        numbers = {trial.number for trial in history.pareto_front()}
        for row in table:
            row["front"] = row["trial"] in numbers
    return table


def _row(history: History, trial: Trial) -> dict[str, Any]:
    fixed = (
        trial.number,
        trial.state.value,
        trial_value(history, trial),
        trial.resource,
        trial.bracket,
        trial.segment + 1,
        len(trial.reports),
        trial.stopping,
        str(trial.failure) if trial.failure is not None else None,
        trial.checkpoint,
        trial.source,
    )
    row: dict[str, Any] = dict(zip(COLUMNS, fixed, strict=True))
    row |= {f"{PARAMS}{name}": value for name, value in flatten(trial.params).items()}
    metrics = trial.reports[-1].metrics if trial.reports else {}
    return row | {f"{METRICS}{name}": encode_float(value) for name, value in metrics.items()}


def columns(table: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows: the fixed ones, then parameters, then metrics."""
    names = list(dict.fromkeys([*COLUMNS, *(name for row in table for name in row)]))
    return sorted(names, key=lambda name: (name.startswith(METRICS), name.startswith(PARAMS)))
