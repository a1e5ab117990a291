"""What the command says of a study, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneflow.opened import OpenStudy


def status_document(opened: OpenStudy) -> dict[str, Any]:
    """Return where a study stands.

    Its keys: ``name``, ``url``, ``state`` (new, running, halted, finishing or finished),
    ``reason`` of its end or halt, ``metric``, ``mode``, ``trials`` (how many there may be, or
    None), ``counts`` by state of trial, ``resource`` spent, ``best``, see `best_document`, and
    ``executor``, what it ran on last, or None.
    """
    from tuneflow.last_place import LastPlace
    from tuneflow.trial import TrialState
    from tuneflow.views.progress import trial_limit

    study, history, place = opened.study, opened.history, LastPlace.recall(opened.store)
    return {
        "name": study.name,
        "url": opened.url,
        "state": history.state,
        "reason": history.finished or history.halted,
        "metric": study.metric,
        "mode": study.mode,
        "trials": trial_limit(study),
        "counts": {state.value: history.counts[state] for state in TrialState},
        "resource": history.spent,
        "best": best_document(opened),
        "executor": place.executor if place else None,
    }


def best_document(opened: OpenStudy) -> dict[str, Any] | None:
    """Return the best trial as ``trial``, ``value``, ``config``, ``resource``, ``checkpoint``.

    None when no trial has a usable value.
    """
    from tuneflow.convert import trial_value

    best = opened.history.best()
    if best is None:
        return None
    return {
        "trial": best.number,
        "value": trial_value(opened.history, best),
        "config": best.params,
        "resource": best.resource,
        "checkpoint": best.checkpoint,
    }
