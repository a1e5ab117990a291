"""What the artifacts of a study show: its trials as a table, and its best configuration."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from typing import Any

from tuneflow.convert import flatten, trial_values
from tuneflow.history import History
from tuneflow.prefect.markdown import block, escaped, table
from tuneflow.study import Study
from tuneflow.trial import Trial, TrialState
from tuneflow.views import text

MOST_ROWS = 200
"""Rows of a table, at most."""

_LONGEST = 300
"""Characters of a configuration, or of a failure, in the table."""

_FIXED = ("trial", "state", "level", "bounds", "configuration")


def trials_json(study: Study, history: History) -> str:
    """Return the best trials as Prefect's tables are stored, the best one first.

    Those that break a bound come after those that keep all: they are never the best.
    """

    def rank(trial: Trial) -> tuple[bool, float, int]:
        return history.trial_violation(trial) > 0, history.trial_loss(trial), trial.number

    best = heapq.nsmallest(MOST_ROWS, history.trials, key=rank)
    return json.dumps([_row(study, history, trial) for trial in best], allow_nan=False)


def trials_caption(history: History) -> str:
    """Return what stands beside the table, as Markdown."""
    count = text.plural(len(history.trials), "trial")
    which = f"the best {MOST_ROWS} of {count}" if len(history.trials) > MOST_ROWS else count
    return f"{which}: {text.state_counts(history)}"


def best_caption(study: Study, history: History) -> str:
    """Return what stands beside the best configuration, as Markdown."""
    best = history.best()
    if best is None:
        return f"no {escaped(study.metric)} yet"
    found = f"{escaped(text.results(history, best, 6))} (trial {best.number})"
    if not study.other_metrics:
        return found
    return f"{found}; front of {text.plural(len(history.pareto_front()), 'trial')}"


def _row(study: Study, history: History, trial: Trial) -> dict[str, Any]:
    names = (text.clean(metric) for metric, _ in study.objectives)
    values = zip(names, trial_values(history, trial), strict=True)
    return {
        "trial": trial.number,
        **{name if name not in _FIXED else f"metric {name}": _rounded(v) for name, v in values},
        "level": trial.resource,
        "state": trial.state.value,
        **({"bounds": text.bounds(history, trial)} if history.constraints else {}),
        "configuration": escaped(_cut(_detail(trial))),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _detail(trial: Trial) -> str:
    params = flatten(trial.params).items()
    shown = ", ".join(f"{name}={text.parameter(value)}" for name, value in params)
    if trial.state is TrialState.FAILED and trial.failure is not None:
        return f"{trial.failure} ({shown})"
    return shown


def _cut(words: str) -> str:
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def best_page(study: Study, history: History, url: str, problem: str | None = None) -> str:
    """Return the best configuration so far as Markdown, and what to do with it.

    Args:
        study: the study.
        history: its history.
        url: the study's URL.
        problem: why the run has ended without finishing the study, or None.
    """
    parts = [f"# {escaped(study.name)}"]
    if problem is not None:
        parts.append(f"**The study is not finished:** {escaped(problem)}")
    best = history.best()
    if best is None:
        sentence = text.no_best(history)
        parts.append(escaped(f"{sentence[0].upper()}{sentence[1:]}."))
    else:
        parts += _best(study, history, best)
    return "\n\n".join([*parts, block_of_use(url, best)])


def _best(study: Study, history: History, best: Trial) -> list[str]:
    rows = [(name, text.parameter(value)) for name, value in flatten(best.params).items()]
    which = text.extreme(study.mode)
    which += f" {escaped(text.clean(study.metric))}" if study.other_metrics else ""
    which += f" of {len(history.trials)}" if len(history.trials) > 1 else ""
    which += " within bounds" if history.constraints else ""
    where = f"trial {best.number} at {text.number(best.resource)}"
    return [
        f"**{escaped(text.results(history, best, 6))}**, the {which}: {where}",
        table(("parameter", "value"), rows) if rows else "It has no parameters.",
        block(best.params),
        *(_front(study, history) if study.other_metrics else []),
    ]


def _front(study: Study, history: History) -> list[str]:
    """Return the Pareto front as Markdown, the best by the first metric on top."""
    front = sorted(history.pareto_front(), key=history.trial_losses)
    names = [text.clean(metric) for metric, _ in study.objectives]
    rows = [
        (
            str(trial.number),
            *(text.number(value, 6) for value in trial_values(history, trial)),
            _cut(_detail(trial)),
        )
        for trial in front[:MOST_ROWS]
    ]
    title = f"## Pareto front: {text.plural(len(front), 'trial')}"
    return [title, table(("trial", *map(escaped, names), "configuration"), rows)]


def block_of_use(url: str, best: Trial | None) -> str:
    """Return how to go on with a study, as a block of Python."""
    lines = ["import tuneflow", "", f"study = tuneflow.load({url!r})"]
    if best is not None:
        lines.append("study.best_config")
        if best.checkpoint is not None:
            lines.append("study.checkpoint()  # downloads the model")
    return "\n".join(["```python", *lines, "```"])


def summary(best: Mapping[str, Any] | None, problem: str | None) -> str:
    """Return in one sentence how a run has ended."""
    if problem is not None:
        return problem
    if best is None:
        return "The study is finished."
    return f"Finished: best {best['metric']} {best['value']:.6g} (trial {best['trial']})"
