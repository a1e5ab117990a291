"""Why a study has no best trial, in words."""

from __future__ import annotations

import math

from tuneflow.errors import did_you_mean
from tuneflow.history import History
from tuneflow.trial import Trial, TrialState


def nearest(history: History) -> Trial | None:
    """Return the trial that breaks the bounds by the least; None when none can be measured."""
    found = min(usable_trials(history), key=history.trial_violation, default=None)
    return found if found is not None and history.trial_violation(found) < math.inf else None


def why_no_best(history: History, quote: str = "'") -> str:
    """Return what no trial has or does, to follow the words "no trial" within a sentence.

    Args:
        history: of a study without a best trial.
        quote: what stands around the names of metrics.
    """
    if not usable_trials(history):
        names = " and ".join(f"{quote}{metric}{quote}" for metric, _ in history.objectives)
        return f"has a finite {names}"
    bounds = ", ".join(map(str, history.constraints))
    trial = nearest(history)
    if trial is None:
        return _without_bounded_metric(history, quote)
    excess = f"{history.trial_violation(trial):.6g}"
    return f"keeps the bounds {bounds} (trial {trial.number} is nearest, {excess} too far)"


def _without_bounded_metric(history: History, quote: str) -> str:
    reports = [report for trial in history.trials for report in trial.reports]
    known = dict.fromkeys(name for report in reports for name in report.metrics)
    for constraint in history.constraints:
        name = constraint.metric
        if name not in known:
            return f"reports {quote}{name}{quote}, which has a bound ({did_you_mean(name, known)})"
    return f"reports all metrics that have bounds: {', '.join(map(str, history.constraints))}"


def usable_trials(history: History) -> list[Trial]:
    """Return the trials that have not failed and have a usable report, within bounds or not."""
    unfailed = (trial for trial in history.trials if trial.state is not TrialState.FAILED)
    return [trial for trial in unfailed if history.usable_report(trial) is not None]
