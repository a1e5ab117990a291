"""The figures about results: history, learning curves, parallel coordinates, importance."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from tuneflow.convert import trial_value
from tuneflow.convert.optuna import frozen_trials, quiet
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Resource, Trial, TrialState
from tuneflow.views import text
from tuneflow.views.progress import rung_levels
from tuneflow.views.theme import (
    ACCENT,
    HEIGHT,
    STATE_COLORS,
    Figure,
    clipped_range,
    clipping_note,
    restyle,
    safe,
    sample,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

MOST_POINTS = 2_000
MOST_CURVES = 120
MOST_LEVELS = 100
MOST_LINES = 200
FEWEST_FOR_IMPORTANCE = 10


def optimisation_history(study: Study, history: History) -> Figure:
    """Return each trial's value by number, and the best value so far."""
    import plotly.graph_objects as go

    title, key = "Optimisation history", "history"
    valued = _valued(history)
    if not valued:
        return Figure(key, title, None, (f"No trial has a finite {study.metric} yet.",))
    best = _improvements(study, valued)
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
    shown = clipped_range(values)
    restyle(plot, xaxis_title="trial", yaxis_title=safe(study.metric))
    plot.update_yaxes(range=shown)
    notes = ["The value of a trial is its newest finite one, at whatever level it was reached."]
    if len(drawn) < len(valued):
        notes.append(f"{len(drawn):,} of {len(valued):,} trials are drawn.")
    return Figure(key, title, plot, (*notes, *clipping_note(values, shown)))


def _valued(history: History) -> list[tuple[Trial, float]]:
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
    drawn = _best_and_sample(history, drawable, MOST_CURVES)
    best = history.best()
    plot = go.Figure()
    for state, color in STATE_COLORS.items():
        trials = [t for t in drawn if t.state is state and t is not best]
        _add_curves(plot, trials, curves, state.value, {"color": color, "width": 1}, 0.55)
    if best is not None:
        line = {"color": ACCENT, "width": 3}
        _add_curves(plot, [best], curves, f"best (trial {best.number})", line, 1.0)
    values = [value for trial in drawn for _, value in curves[trial.number]]
    shown = clipped_range(values)
    restyle(plot, xaxis_title="resource", yaxis_title=safe(study.metric))
    plot.update_yaxes(range=shown)
    notes = _mark_rungs(plot, rung_levels(study.scheduler))
    if len(drawn) < len(drawable):
        notes += (_left_out(len(drawn), len(drawable), "curves"),)
    return Figure(key, title, plot, (*notes, *clipping_note(values, shown)))


def _curve(history: History, trial: Trial) -> list[tuple[Resource, float]]:
    metric = history.metric
    reports = [r for r in trial.reports if history.loss(r.metrics) < float("inf")]
    return sample([(report.resource, report.metrics[metric]) for report in reports], MOST_LEVELS)


def _add_curves(
    plot: Any,
    trials: Sequence[Trial],
    curves: Mapping[int, list[tuple[Resource, float]]],
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
    return (f"Dashed vertical lines are the rungs of {plot_name(levels)}.",)


def plot_name(levels: Sequence[Resource]) -> str:
    """Return the levels in words."""
    return ", ".join(text.number(level) for level in levels)


def _best_and_sample(history: History, trials: Sequence[Trial], count: int) -> list[Trial]:
    """Return the best half of ``count`` trials and an even sample of the others, by number."""
    if len(trials) <= count:
        return list(trials)
    best = heapq.nsmallest(count // 2, trials, key=history.trial_loss)
    chosen = {trial.number for trial in best}
    others = sample([t for t in trials if t.number not in chosen], count - len(best))
    return sorted([*best, *others], key=lambda trial: trial.number)


def _left_out(drawn: int, of: int, what: str) -> str:
    return f"{drawn:,} of {of:,} {what} are drawn: the best half of them, and a sample of the rest."


def parallel_coordinates(study: Study, history: History) -> Figure:
    """Return a line through the parameters and the value for each trial, by Optuna."""
    import optuna.visualization

    title, key = "Parallel coordinates", "parallel"
    valued = [trial for trial, _ in _valued(history) if trial.state is not TrialState.FAILED]
    if len(valued) < 2:
        return Figure(key, title, None, ("This needs two trials with a value.",))
    chosen = _best_and_sample(history, valued, MOST_LINES)
    values = {trial.number: trial_value(history, trial) for trial in chosen}
    view = _view(study, history, values)
    names = sorted({name for trial in view.trials for name in trial.params})
    if not names:
        return Figure(key, title, None, ("The space has no free parameter.",))
    plot = optuna.visualization.plot_parallel_coordinate(view, target_name=safe(study.metric))
    height = HEIGHT + 40
    restyle(plot, height, margin={"l": 24, "r": 8, "t": 24, "b": 8})
    notes = ["Each line is a trial, coloured by its newest value."]
    if len(chosen) < len(valued):
        notes.append(_left_out(len(chosen), len(valued), "trials"))
    return Figure(key, title, plot, tuple(notes), height, min_width=120 * (len(names) + 2))


def importance(study: Study, history: History) -> Figure:
    """Return how much each parameter matters, by Optuna's PED-ANOVA."""
    import optuna.visualization
    from optuna.importance import PedAnovaImportanceEvaluator

    title, key = "Parameter importance", "importance"
    level, values = _compared(history)
    if len(values) < FEWEST_FOR_IMPORTANCE:
        few = f"This needs {FEWEST_FOR_IMPORTANCE} trials with a value at the same level"
        return Figure(key, title, None, (f"{few}; there are {len(values)}.",))
    view = _view(study, history, values)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=min(0.5, max(0.1, 5 / len(values))))
    try:
        with quiet():
            plot = optuna.visualization.plot_param_importances(view, evaluator)
    except (ValueError, RuntimeError) as error:
        return Figure(key, title, None, (f"Optuna cannot say: {error}",))
    bars = max((len(trace.y) for trace in plot.data), default=0)
    if not bars:
        return Figure(key, title, None, ("No parameter varies among the trials.",))
    height = 90 + 32 * bars
    restyle(plot, height, xaxis_title="share of the importance", yaxis_title=None)
    plot.update_traces(marker_color=STATE_COLORS[TrialState.STOPPED], showlegend=False)
    plot.update_xaxes(range=[0, 1.08])
    about = f"PED-ANOVA over the {len(values)} trials that have a value at level "
    return Figure(key, title, plot, (f"{about}{text.number(level)}.",), height)


def _compared(history: History) -> tuple[Resource, dict[int, float]]:
    """Return the level at which trials are best compared, and their values there.

    It is the highest that a third of the trials, and at least ten, have reported at; without
    such a level the one that most have.
    """
    counts: Counter[Resource] = Counter()
    for trial in history.trials:
        counts.update(level for level, _ in _usable(history, trial))
    if not counts:
        return 0, {}
    enough = max(FEWEST_FOR_IMPORTANCE, len(history.trials) // 3)
    able = [level for level, count in counts.items() if count >= enough]
    level = max(able) if able else max(counts, key=lambda key: (counts[key], key))
    at_level = ((t.number, dict(_usable(history, t)).get(level)) for t in history.trials)
    return level, {number: value for number, value in at_level if value is not None}


def _usable(history: History, trial: Trial) -> list[tuple[Resource, float]]:
    return [
        (report.resource, report.metrics[history.metric])
        for report in trial.reports
        if history.loss(report.metrics) < float("inf")
    ]


def _view(study: Study, history: History, values: Mapping[int, float | None]) -> optuna.Study:
    """Return an Optuna study of these trials as if they were complete, with these values."""
    import optuna

    direction = "maximize" if study.mode == "max" else "minimize"
    trials = frozen_trials(study, history)
    with quiet():
        view = optuna.create_study(direction=direction)
        for number, value in values.items():
            view.add_trial(_as_complete(trials[number], value))
    return view


def _as_complete(trial: FrozenTrial, value: float | None) -> FrozenTrial:
    from optuna.trial import create_trial

    return create_trial(
        value=value,
        params={safe(name): _label(item) for name, item in trial.params.items()},
        distributions={
            safe(name): _labelled(item) for name, item in trial.distributions.items()
        },
    )


def _label(value: Any) -> Any:
    return escape(value) if isinstance(value, str) else value


def _labelled(distribution: Any) -> Any:
    choices = getattr(distribution, "choices", None)
    if choices is None:
        return distribution
    return type(distribution)([_label(choice) for choice in choices])
