"""The figure of a study of several metrics: what its trials trade for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState
from tuneflow.views import text
from tuneflow.views.theme import (
    ACCENT,
    HEIGHT,
    STATE_COLORS,
    Figure,
    clipped_range,
    clipping_note,
    labels,
    restyle,
    safe,
    sample,
)

MOST_POINTS = 2_000
_LONGEST_NAME = 28
_COLORS = {
    "break a bound": "#9aa4b3",
    "others": STATE_COLORS[TrialState.STOPPED],
    "Pareto front": ACCENT,
}
"""The kinds of trials; what comes later lies on top."""

_SCALE = ["#8a63d2", "#2a9d6e", "#d9b13b"]
"""The third metric, in colours that are seen on light and on dark."""

Groups: TypeAlias = Mapping[str, Sequence[Trial]]


def pareto_figure(study: Study, history: History) -> Figure:
    """Return the metrics against each other, with the Pareto front marked.

    Two metrics are the two axes, a third is the colour; more of them are parallel axes.
    """
    title, key = "Trade-off of the metrics", "pareto"
    usable = [
        trial
        for trial in history.trials
        if trial.state is not TrialState.FAILED and history.usable_report(trial) is not None
    ]
    if not usable:
        return Figure(key, title, None, ("No trial has a finite value of each metric yet.",))
    drawn, groups = _grouped(history, usable)
    if len(study.objectives) > 3:
        plot, notes, height = _parallel(study, history, groups)
    else:
        plot, notes, height = _scatter(study, history, groups)
    if drawn < len(usable):
        notes = (*notes, f"{drawn:,} of {len(usable):,} trials are drawn, the front among them.")
    return Figure(key, title, plot, notes, height)


def _grouped(history: History, usable: Sequence[Trial]) -> tuple[int, dict[str, list[Trial]]]:
    """Return how many trials are drawn, and those of each kind; the front comes last, on top."""
    front = sample(history.pareto_front(), MOST_POINTS)
    numbers = {trial.number for trial in front}
    others = [trial for trial in usable if trial.number not in numbers]
    drawn = sample(others, MOST_POINTS - len(front))
    kept = [trial for trial in drawn if history.trial_violation(trial) == 0]
    broken = [trial for trial in drawn if history.trial_violation(trial) > 0]
    groups = {"break a bound": broken, "others": kept, "Pareto front": front}
    return len(drawn) + len(front), {name: trials for name, trials in groups.items() if trials}


def _scatter(study: Study, history: History, groups: Groups) -> tuple[Any, tuple[str, ...], int]:
    import plotly.graph_objects as go

    plot = go.Figure()
    (_, first), (_, second), *third = study.objectives
    front = sorted(_values(history, groups.get("Pareto front", ())))
    if not third and len(front) > 1:
        _add_boundary(plot, front, shape="hv" if first == "min" else "vh")
    for name, trials in groups.items():
        values = _values(history, trials)
        colors = [each[2] for each in values] if third and name != "break a bound" else None
        _add_points(plot, name, values, [_said(history, trial) for trial in trials], colors)
    x, y = (_axis(metric, mode) for metric, mode in study.objectives[:2])
    restyle(plot, HEIGHT + 60, xaxis_title=x, yaxis_title=y)
    if third:
        _show_third(plot, *third[0])
    shown, notes = _clip(history, groups, (first, second))
    plot.update_xaxes(range=shown[0])
    plot.update_yaxes(range=shown[1])
    who = "No trial that keeps the bounds" if study.constraints else "No trial"
    about = f"{who} betters one of the front in a metric without being worse in another."
    return plot, (about, *notes), HEIGHT + 60


def _add_boundary(plot: Any, front: Sequence[Sequence[float]], shape: str) -> None:
    """Draw the line between what was reached and what was not."""
    plot.add_scatter(
        x=[values[0] for values in front],
        y=[values[1] for values in front],
        mode="lines",
        line={"color": ACCENT, "width": 1.5, "dash": "dot", "shape": shape},
        hoverinfo="skip",
        showlegend=False,
    )


def _add_points(
    plot: Any,
    name: str,
    values: Sequence[Sequence[float]],
    said: Sequence[str],
    colors: list[float] | None,
) -> None:
    """Draw trials; with numbers as ``colors`` those are the third metric."""
    is_front = name == "Pareto front"
    marker: dict[str, Any] = {"opacity": 0.85, "size": 10 if is_front else 7}
    marker["symbol"] = "diamond" if is_front else "circle"
    if colors is None:
        marker["color"] = _COLORS[name]
    else:
        # Plotly paints the legend of what has many colours black, which a dark page swallows.
        key = {"color": _COLORS[name], "symbol": marker["symbol"]}
        plot.add_scatter(
            x=[None], y=[None], name=name, marker=key, mode="markers", legendgroup=name
        )
        marker |= {"color": colors, "coloraxis": "coloraxis"}
        marker["line"] = {"color": ACCENT, "width": 2.5 if is_front else 0}
    plot.add_scatter(
        x=[each[0] for each in values],
        y=[each[1] for each in values],
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=colors is None,
        marker=marker,
        text=list(said),
        hovertemplate="%{text}<extra>" + name + "</extra>",
    )


def _said(history: History, trial: Trial) -> str:
    return safe(f"trial {trial.number}: {text.results(history, trial)}")


def _show_third(plot: Any, metric: str, mode: str) -> None:
    title = {"text": _axis(metric, mode), "side": "right"}
    plot.update_layout(coloraxis={"colorscale": _SCALE, "colorbar": {"title": title}})


def _clip(
    history: History, groups: Groups, modes: Sequence[Any]
) -> tuple[list[tuple[float, float] | None], tuple[str, ...]]:
    """Return the range of each axis without extreme values, and the sentences that say so.

    The front is never cut off: it may well be extreme.
    """
    front = _values(history, groups.get("Pareto front", ()))
    every = [values for trials in groups.values() for values in _values(history, trials)]
    ranges: list[tuple[float, float] | None] = []
    notes: tuple[str, ...] = ()
    for axis, mode in enumerate(modes):
        column = [values[axis] for values in every]
        shown = clipped_range(column, mode)
        if shown is not None and any(not shown[0] <= v[axis] <= shown[1] for v in front):
            shown = None
        ranges.append(shown)
        notes = (*notes, *clipping_note(column, shown))
    return ranges, notes


def _parallel(study: Study, history: History, groups: Groups) -> tuple[Any, tuple[str, ...], int]:
    import plotly.graph_objects as go

    losses = [history.trial_losses(trial) for trials in groups.values() for trial in trials]
    spans = [(min(column), max(column)) for column in zip(*losses, strict=True)]
    plot = go.Figure()
    for name, trials in groups.items():
        _add_lines(
            plot,
            name,
            [_heights(history.trial_losses(trial), spans) for trial in trials],
            [_said(history, trial) for trial in trials],
        )
    height = HEIGHT + 60
    restyle(plot, height)
    names = labels([metric for metric, _ in study.objectives], _LONGEST_NAME)
    ticks = [
        f"{names[metric]}<br>{_span(span, mode)}"
        for (metric, mode), span in zip(study.objectives, spans, strict=True)
    ]
    plot.update_xaxes(tickmode="array", tickvals=list(range(len(ticks))), ticktext=ticks)
    plot.update_yaxes(showticklabels=False, showgrid=False, title="better", range=[-0.05, 1.05])
    about = (
        "Each line is a trial; of each metric the best value is on top, the worst at the bottom."
    )
    return plot, (about,), height


def _heights(losses: Sequence[float], spans: Sequence[tuple[float, float]]) -> list[float]:
    """Return how high a trial stands on each axis: 1 is the best of all, 0 the worst."""
    return [
        (worst - loss) / (worst - best) if worst > best else 0.5
        for loss, (best, worst) in zip(losses, spans, strict=True)
    ]


def _span(span: tuple[float, float], mode: str) -> str:
    best, worst = (-loss if mode == "max" else loss for loss in span)
    return f"{text.number(worst, 3)} to {text.number(best, 3)}"


def _add_lines(
    plot: Any, name: str, heights: Sequence[Sequence[float]], said: Sequence[str]
) -> None:
    """Draw a line for each trial, all of them as one trace."""
    x: list[int | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    for each, words in zip(heights, said, strict=True):
        x += [*range(len(each)), None]
        y += [*each, None]
        texts += [*[words] * len(each), None]
    plot.add_scatter(
        x=x,
        y=y,
        text=texts,
        mode="lines+markers",
        name=name,
        line={"color": _COLORS[name], "width": 2 if name == "Pareto front" else 1},
        marker={"size": 4},
        opacity=0.8,
        hovertemplate="%{text}<extra>" + name + "</extra>",
    )


def _values(history: History, trials: Sequence[Trial]) -> list[tuple[float, ...]]:
    """Return the metrics of trials that have a usable report."""
    modes = [mode for _, mode in history.objectives]
    losses = (history.trial_losses(trial) for trial in trials)
    return [
        tuple(-loss if mode == "max" else loss for mode, loss in zip(modes, each, strict=True))
        for each in losses
    ]


def _axis(metric: str, mode: str) -> str:
    return safe(f"{text.clean(metric)} ({'higher' if mode == 'max' else 'lower'} is better)")
