"""From what workers say to facts: what is known already, or comes too late, adds nothing."""

from __future__ import annotations

import math

from tuneflow.budget import Budget
from tuneflow.events import Closed, Reported
from tuneflow.history import History
from tuneflow.study import Study
from tuneflow.trial import Failure, Outcome, Report, Trial


def record_report(history: History, trial: int, segment: int, report: Report) -> None:
    """Append a worker's report, unless it is known already or comes from a segment that is over.

    A segment that had to begin anew repeats levels; each level counts once.
    """
    known = history.running.get(trial)
    if known is None or known.segment != segment or report.resource <= known.resource:
        return
    history.append(Reported(trial, report))


def record_outcome(study: Study, history: History, outcome: Outcome) -> None:
    """Append what an outcome says: the reports not known yet, and how the segment closed."""
    trial = history.running.get(outcome.trial)
    if trial is None or trial.segment != outcome.segment:
        return
    for report in outcome.reports:
        record_report(history, outcome.trial, outcome.segment, report)
    unusable = _unusable(study, history, trial, outcome)
    if unusable is not None:
        history.append(Closed(trial.number, "failed", unusable))
        return
    retry = trial.stopping is None and _is_retried(study.budget, trial, outcome.status)
    failure = _without_traceback(outcome.failure)
    history.append(Closed(trial.number, outcome.status, failure, retry))


def _is_at_end(history: History, trial: Trial, outcome: Outcome) -> bool:
    limit = history.max_resource
    is_at_maximum = limit is not None and trial.resource >= limit
    return outcome.status == "completed" or (outcome.status == "paused" and is_at_maximum)


def _unusable(study: Study, history: History, trial: Trial, outcome: Outcome) -> Failure | None:
    """Return why nothing can be done with what a trial has reported, or None."""
    is_known = history.usable_report(trial) is not None
    if not is_known and _is_at_end(history, trial, outcome):
        return _no_value(history, trial)
    if is_known and outcome.status in ("paused", "completed"):
        missing = (name for name in study.scheduler.metrics if trial.latest(name) is None)
        for name in missing:
            return Failure("metric", f"no report has '{name}', which the scheduler goes by")
    return None


def _no_value(history: History, trial: Trial) -> Failure:
    for metric, _ in history.objectives:
        value = trial.latest(metric)
        if value is None:
            return Failure("metric", f"no report has '{metric}'")
        if not math.isfinite(value):
            return Failure("metric", f"{metric} is {value}, never a finite number")
    names = " and ".join(f"'{metric}'" for metric, _ in history.objectives)
    return Failure("metric", f"no one report has {names} as finite numbers")


def _without_traceback(failure: Failure | None) -> Failure | None:
    """Leave the traceback in the outcome: the journal is read whole, and names no host."""
    return Failure(failure.kind, failure.message) if failure else None


def _is_retried(budget: Budget, trial: Trial, status: str) -> bool:
    if status == "failed":
        return trial.failures < budget.max_failures_per_trial
    return status == "lost" and trial.losses < budget.max_losses_per_trial
