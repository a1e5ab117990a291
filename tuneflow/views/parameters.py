"""The figures about parameters, drawn by Optuna: parallel coordinates and importance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuneflow.convert.optuna import frozen_trials, quiet
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Mode, Resource, TrialState
from tuneflow.views import text
from tuneflow.views.curves import best_and_sample, left_out, usable, valued_trials
from tuneflow.views.theme import HEIGHT, STATE_COLORS, Figure, labels, restyle, safe

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MOST_LINES = 200
FEWEST_FOR_IMPORTANCE = 10
_LONGEST_NAME = 20
_LONGEST_CHOICE = 14
SCALE: list[list[Any]] = [
    [0.0, "rgb(154,164,179)"],
    [0.6, "rgb(74,134,197)"],
    [1.0, "rgb(224,123,57)"],
]
"""From the worst value to the best."""


def parallel_coordinates(study: Study, history: History) -> Figure:
    """Return a line through the parameters and the value for each trial, by Optuna."""
    import optuna.visualization

    title, key = "Parallel coordinates", "parallel"
    valued = {
        trial.number: value
        for trial, value in valued_trials(history)
        if trial.state is not TrialState.FAILED
    }
    if len(valued) < 2:
        return Figure(key, title, None, ("This needs two trials with a value.",))
    chosen = best_and_sample(history, [history.trials[n] for n in valued], MOST_LINES)
    values = {trial.number: valued[trial.number] for trial in chosen}
    view = _view(study, history, values)
    names = sorted({name for trial in view.trials for name in trial.params})
    if not names:
        return Figure(key, title, None, ("The space has no free parameter.",))
    plot = optuna.visualization.plot_parallel_coordinate(view, target_name=safe(study.metric))
    _recolor(plot, study.mode)
    height = HEIGHT + 40
    restyle(plot, height, margin={"l": 24, "r": 8, "t": 24, "b": 8})
    notes = ["Each line is a trial, coloured by its newest value."]
    if len(chosen) < len(valued):
        notes.append(left_out(len(chosen), len(valued), "trials"))
    return Figure(key, title, plot, tuple(notes), height, min_width=120 * (len(names) + 2))


def _recolor(plot: Any, mode: Mode) -> None:
    """Paint the lines in colours that are seen on light and on dark, the best on top."""
    from plotly.colors import sample_colorscale

    scale = SCALE if mode == "max" else [[1 - at, color] for at, color in reversed(SCALE)]
    lines = [trace for trace in plot.data if trace.type == "scatter" and trace.mode == "lines"]
    for trace in lines:
        trace.line.color = sample_colorscale(scale, min(max(trace.y[0], 0.0), 1.0))[0]
        trace.opacity = 0.8
    # By identity: to compare two traces is to compare all their points.
    ours = set(map(id, lines))
    others = [trace for trace in plot.data if id(trace) not in ours]
    for trace in others:
        styled = trace.line if trace.type == "parcoords" else trace.marker
        styled.update(colorscale=scale, reversescale=False)
    lines.sort(key=lambda trace: trace.y[0], reverse=mode == "min")
    plot.data = (*lines, *others)


def importance(study: Study, history: History) -> Figure:
    """Return how much each parameter matters, by Optuna's PED-ANOVA."""
    import optuna.visualization
    from optuna.importance import PedAnovaImportanceEvaluator

    title, key = "Parameter importance", "importance"
    level, values = _compared(history)
    if len(values) < FEWEST_FOR_IMPORTANCE:
        few = f"This needs {FEWEST_FOR_IMPORTANCE} trials with a value at the same level"
        return Figure(key, title, None, (f"{few}; there are {len(values)}.",))
    if len(set(values.values())) == 1:
        return Figure(key, title, None, ("All trials that can be compared have the same value.",))
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
    plot.update_xaxes(range=[0, 1.2 * max(max(trace.x) for trace in plot.data)])
    about = f"PED-ANOVA over the {len(values)} trials that have a value at level "
    return Figure(key, title, plot, (f"{about}{text.number(level)}.",), height)


def _compared(history: History) -> tuple[Resource, dict[int, float]]:
    """Return the level at which trials are best compared, and their values there.

    It is the highest that a third of the trials, and at least ten, have reported at; without
    such a level the one that most have.
    """
    counts: Counter[Resource] = Counter()
    for trial in history.trials:
        counts.update(level for level, _ in usable(history, trial))
    if not counts:
        return 0, {}
    enough = max(FEWEST_FOR_IMPORTANCE, len(history.trials) // 3)
    able = [level for level, count in counts.items() if count >= enough]
    level = max(able) if able else max(counts, key=lambda key: (counts[key], key))
    at_level = ((t.number, dict(usable(history, t)).get(level)) for t in history.trials)
    return level, {number: value for number, value in at_level if value is not None}


def _view(study: Study, history: History, values: Mapping[int, float]) -> optuna.Study:
    """Return an Optuna study of these trials as if they were complete, with these values."""
    import optuna

    trials = frozen_trials(study, history, trials=[history.trials[n] for n in values])
    relabel = _relabelled(trials)
    with quiet():
        view = optuna.create_study(direction="maximize" if study.mode == "max" else "minimize")
        for trial, value in zip(trials, values.values(), strict=True):
            view.add_trial(relabel(trial, value))
    return view


def _relabelled(trials: Sequence[FrozenTrial]) -> Callable[[FrozenTrial, float], FrozenTrial]:
    """Return a function that makes a trial complete, with labels for the user's texts."""
    from optuna.trial import create_trial

    known = {name: item for trial in trials for name, item in trial.distributions.items()}
    names = labels(known, _LONGEST_NAME)
    choices = {name: _choices(item) for name, item in known.items()}
    distributions = {
        names[name]: _with_choices(item, choices[name]) for name, item in known.items()
    }

    def complete(trial: FrozenTrial, value: float) -> FrozenTrial:
        params = {
            names[name]: choices[name].get(item, item) if isinstance(item, str) else item
            for name, item in trial.params.items()
        }
        return create_trial(
            value=value,
            params=params,
            distributions={name: distributions[name] for name in params},
        )

    return complete


def _choices(distribution: BaseDistribution) -> dict[str, str]:
    """Return a label for each choice that is a text."""
    choices = getattr(distribution, "choices", ())
    return labels((c for c in choices if isinstance(c, str)), _LONGEST_CHOICE)


def _with_choices(distribution: BaseDistribution, texts: Mapping[str, str]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    if not isinstance(distribution, CategoricalDistribution):
        return distribution
    return CategoricalDistribution(
        [texts[choice] if isinstance(choice, str) else choice for choice in distribution.choices]
    )
