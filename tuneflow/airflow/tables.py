"""A rung as a table in a task's log."""

from __future__ import annotations

from collections.abc import Sequence

from tuneflow.airflow.labels import parameters
from tuneflow.events import Closed, Fact, Launched, Stopped
from tuneflow.opened import OpenStudy

_ROWS = 100
"""Rows of a table, at most."""


def rung_table(opened: OpenStudy, facts: Sequence[Fact]) -> str:
    """Return what became of the trials whose outcomes a round took in, best first."""
    history = opened.history
    closed = [fact.trial for fact in facts if isinstance(fact, Closed)]
    again = {fact.trial for fact in facts if isinstance(fact, Launched)}
    stopped = {fact.trial for fact in facts if isinstance(fact, Stopped)}
    metric = opened.study.metric
    rows = [("trial", metric, "at", "verdict", "configuration")]
    for number in sorted(closed, key=lambda n: (history.trial_loss(history.trials[n]), n))[:_ROWS]:
        trial = history.trials[number]
        value = trial.latest(metric)
        verdict = (
            opened.study.scheduler.resuming
            if number in again
            else "stopped"
            if number in stopped
            else str(trial.state)
        )
        shown = "" if value is None else f"{value:.6g}"
        rows.append((str(number), shown, f"{trial.resource:g}", verdict, parameters(trial.params)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    more = [f"and {len(closed) - _ROWS} more"] if len(closed) > _ROWS else []
    return "\n".join([*(line.rstrip() for line in lines), *more])
