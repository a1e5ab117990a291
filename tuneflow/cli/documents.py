"""What the command says of a study, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.history import History
    from tuneflow.opened import OpenStudy
    from tuneflow.trial import Trial


def status_document(opened: OpenStudy) -> dict[str, Any]:
    """Return where a study stands.

    Its keys: ``name``, ``url``, ``state`` (new, running, halted, finishing or finished),
    ``reason`` of its end or halt, ``metric`` and ``mode`` (lists where there are several),
    ``trials`` (how many there may be, or None), ``counts`` by state of trial, ``resource`` spent,
    ``best``, see `best_document`, ``executor``, what it ran on last, or None, and
    ``constraints`` where there are any.
    """
    from tuneflow.last_place import LastPlace
    from tuneflow.trial import TrialState
    from tuneflow.views.progress import trial_limit

    study, history, place = opened.study, opened.history, LastPlace.recall(opened.store)
    spec = study.to_json()
    document = {
        "name": study.name,
        "url": opened.url,
        "state": history.state,
        "reason": history.finished or history.halted,
        "metric": spec["metric"],
        "mode": spec["mode"],
        "trials": trial_limit(study),
        "counts": {state.value: history.counts[state] for state in TrialState},
        "resource": history.spent,
        "best": best_document(opened),
        "executor": place.executor if place else None,
    }
    return {**document, "constraints": spec["constraints"]} if study.constraints else document


def best_document(opened: OpenStudy) -> dict[str, Any] | None:
    """Return the best trial as ``trial``, ``value``, ``config``, ``resource``, ``checkpoint``.

    Where there are several metrics it has ``values``, too, and ``front`` has the trials of the
    Pareto front in the same form. None when no trial has a usable value that keeps the bounds.
    """
    best = opened.history.best()
    if best is None:
        return None
    document = _trial(opened.history, best)
    if opened.study.other_metrics:
        document["front"] = [_trial(opened.history, t) for t in opened.history.pareto_front()]
    return document


def _trial(history: History, trial: Trial) -> dict[str, Any]:
    from tuneflow.convert import trial_value, trial_values

    document = {
        "trial": trial.number,
        "value": trial_value(history, trial),
        "config": trial.params,
        "resource": trial.resource,
        "checkpoint": trial.checkpoint,
    }
    if len(history.objectives) > 1:
        names = (metric for metric, _ in history.objectives)
        document["values"] = dict(zip(names, trial_values(history, trial), strict=True))
    return document
