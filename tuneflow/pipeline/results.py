"""Whether what the trials of a round came to is something to go on with."""

from __future__ import annotations

from tuneflow.nearest import usable_trials
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes


def problem_of_round(
    opened: OpenStudy, what: str = "stage", *, may_all_fail: bool = False
) -> str | None:
    """Return why the open round must not be closed yet, or None.

    Taking the outcomes in is for good: trials that have none count as lost from then on. So it
    must not be done because a cluster was away, or because of a mistake that all trials share.

    Args:
        opened: the study.
        what: the orchestrator's word for a round.
        may_all_fail: whether it says something of a configuration when all trials fail.
    """
    keys = [segment.key for segment in opened.history.open_segments()]
    outcomes = stored_outcomes(opened.store, keys)
    if keys and not outcomes:
        return f"none of the {len(keys)} trials of this {what} has an outcome"
    if may_all_fail:
        return None
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if failed and len(failed) == len(keys) and not usable_trials(opened.history):
        first = failed[0]
        failure = f"trial {first.trial} with {first.failure}"
        return f"all {len(keys)} trials of this {what} failed, {failure}"
    return None
