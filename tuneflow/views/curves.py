"""The figures about results: the optimisation history and the learning curves."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from tuneflow.convert import trial_value
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Resource, Trial, TrialState
from tuneflow.views import text
from tuneflow.views.progress import rung_levels
from tuneflow.views.theme import (
    ACCENT,
    STATE_COLORS,
    Figure,
    clipped_range,
    clipping_note,
    restyle,
    safe,
    sample,
)

MOST_POINTS = 2_000
MOST_CURVES = 120
MOST_LEVELS = 100


def optimisation_history(study: Study, history: History) -> Figure:
    """Return each trial's value by number, and the best value so far."""
    import plotly.graph_objects as go

    title, key = "Optimisation history", "history"
    valued = valued_trials(history)
    if not valued:
        return Figure(key, title, None, (f"No trial has a finite {study.metric} yet.",))
    best = _improvements(study, [(t, v) for t, v in valued if history.trial_violation(t) == 0])
    drawn = sample(valued, MOST_POINTS)
    plot = go.Figure()
    for state, color in STATE_COLORS.items():
        points = [(t.number, value) for t, value in drawn if t.state is state]
        if points:
            plot.add_scatter(
                x=[x for x, _ in points],
                y=[y for _, y in points],
                mode="markers",
                name=state.value,
                marker={"color": color, "size": 7, "opacity": 0.75},
                hovertemplate="trial %{x}: %{y}<extra>" + state.value + "</extra>",
            )
    plot.add_scatter(
        x=[x for x, _ in best],
        y=[y for _, y in best],
        mode="lines",
        name="best so far",
        line={"color": ACCENT, "width": 2, "shape": "hv"},
        hovertemplate="best up to trial %{x}: %{y}<extra></extra>",
    )
    values = [value for _, value in valued]
    shown = clipped_range(values, study.mode)
    restyle(plot, xaxis_title="trial", yaxis_title=safe(study.metric))
    plot.update_yaxes(range=shown)
    notes = ["The value of a trial is its newest finite one, at whatever level it was reached."]
    if len(drawn) < len(valued):
        notes.append(f"{len(drawn):,} of {len(valued):,} trials are drawn.")
    return Figure(key, title, plot, (*notes, *clipping_note(values, shown)))


def valued_trials(history: History) -> list[tuple[Trial, float]]:
    """Return the trials that have a usable value, and it; failed ones too."""
    found = ((trial, trial_value(history, trial)) for trial in history.trials)
    return [(trial, value) for trial, value in found if value is not None]


def _improvements(study: Study, valued: Sequence[tuple[Trial, float]]) -> list[tuple[int, float]]:
    """Return the best value so far where it changes, and at the end."""
    better = max if study.mode == "max" else min
    points: list[tuple[int, float]] = []
    counted = [(t.number, value) for t, value in valued if t.state is not TrialState.FAILED]
    for number, value in counted:
        if not points or better(value, points[-1][1]) != points[-1][1]:
            points.append((number, value))
    if points and points[-1][0] != counted[-1][0]:
        points.append((counted[-1][0], points[-1][1]))
    return points


def learning_curves(study: Study, history: History) -> Figure:
    """Return the metric by level for each trial, with the scheduler's rungs marked."""
    import plotly.graph_objects as go

    title, key = "Learning curves", "curves"
    curves = {trial.number: _curve(history, trial) for trial in history.trials}
    drawable = [trial for trial in history.trials if len(curves[trial.number]) > 1]
    if not drawable:
        return Figure(key, title, None, ("No trial has reported more than once yet.",))
    drawn = best_and_sample(history, drawable, MOST_CURVES)
    best = history.best()
    plot = go.Figure()
    for state, color in STATE_COLORS.items():
        trials = [t for t in drawn if t.state is state and t is not best]
        line = {"color": color, "width": 1.5}
        _add_curves(plot, trials, curves, name=state.value, line=line, opacity=0.75)
    if best is not None:
        name, line = f"best (trial {best.number})", {"color": ACCENT, "width": 3}
        _add_curves(plot, [best], curves, name=name, line=line, opacity=1.0)
    values = [value for trial in drawn for _, value in curves[trial.number]]
    shown = clipped_range(values, study.mode)
    restyle(plot, xaxis_title="resource", yaxis_title=safe(study.metric))
    plot.update_yaxes(range=shown)
    notes = _mark_rungs(plot, rung_levels(study.scheduler))
    if len(drawn) < len(drawable):
        notes += (left_out(len(drawn), len(drawable), "curves"),)
    return Figure(key, title, plot, (*notes, *clipping_note(values, shown)))


def usable(history: History, trial: Trial) -> list[tuple[Resource, float]]:
    """Return the levels and values of a trial's finite reports."""
    return [
        (report.resource, report.metrics[history.metric])
        for report in trial.reports
        if history.loss(report.metrics) < float("inf")
    ]


def _curve(history: History, trial: Trial) -> list[tuple[Resource, float]]:
    return sample(usable(history, trial), MOST_LEVELS)


def _add_curves(
    plot: Any,
    trials: Sequence[Trial],
    curves: Mapping[int, list[tuple[Resource, float]]],
    *,
    name: str,
    line: Mapping[str, Any],
    opacity: float,
) -> None:
    """Add curves as one trace, with gaps between them: hundreds of traces would be slow."""
    x: list[Resource | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        for level, value in curves[trial.number]:
            x.append(level)
            y.append(value)
            numbers.append(trial.number)
        x.append(None)
        y.append(None)
        numbers.append(None)
    if trials:
        plot.add_scatter(
            x=x,
            y=y,
            customdata=numbers,
            mode="lines",
            name=name,
            line=dict(line),
            opacity=opacity,
            hovertemplate="trial %{customdata} at %{x}: %{y}<extra></extra>",
        )


def _mark_rungs(plot: Any, levels: list[Resource]) -> tuple[str, ...]:
    """Make the rungs the grid of the x axis; a logarithmic one when there are several."""
    if not levels:
        return ()
    ticks = {"tickmode": "array", "tickvals": levels, "griddash": "dash", "gridwidth": 1}
    plot.update_xaxes(type="log" if len(levels) > 2 else "linear", **ticks)
    plot.update_xaxes(ticktext=[text.number(level) for level in levels])
    return (f"Dashed vertical lines are the rungs: {_list(levels)}.",)


def _list(levels: Sequence[Resource]) -> str:
    """Return the levels in words."""
    return ", ".join(text.number(level) for level in levels)


def best_and_sample(history: History, trials: Sequence[Trial], count: int) -> list[Trial]:
    """Return the best half of ``count`` trials and an even sample of the others, by number."""
    if len(trials) <= count:
        return list(trials)
    best = heapq.nsmallest(count // 2, trials, key=history.trial_loss)
    chosen = {trial.number for trial in best}
    others = sample([t for t in trials if t.number not in chosen], count - len(best))
    return sorted([*best, *others], key=lambda trial: trial.number)


def left_out(drawn: int, of: int, what: str) -> str:
    """Return the sentence that says so of `best_and_sample`."""
    half = f"the {drawn // 2} best, and an even sample of the others"
    return f"{drawn:,} of {of:,} {what} are drawn: {half}."
