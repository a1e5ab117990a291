"""What a retune has used of its limits, and what they leave for the search."""

from __future__ import annotations

from collections.abc import Iterable

from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes
from tuneflow.retune.plan import Plan, limited
from tuneflow.study import Study


def search_budget(plan: Plan, study: Study, champion: OpenStudy | None) -> Budget:
    """Return what is left for the search when a challenger is to be measured like the champion.

    Args:
        plan: says what may be used in all.
        study: the search.
        champion: the study that has measured the champion; None where there is no champion.

    Raises:
        SpecError: there is nothing left for it.
    """
    limits = plan.limits
    spent, seconds, trial_time = used_by([champion] if champion else [])
    is_known = champion is not None
    return limited(
        study.budget,
        total_resource=plan.search_resource(study, spent),
        wall_clock=_left("wall_clock", limits.wall_clock, 2 * seconds if is_known else None),
        trial_time=_left("cost", limits.trial_time, 2 * trial_time if is_known else None),
    )


def _left(name: str, limit: float | None, used: float | None) -> float | None:
    """Return what is left for the search; half of it where no measurement has been seen yet."""
    if limit is None:
        return None
    if used is None:
        return limit / 2
    if limit <= used:
        raise SpecError(
            f"limits.{name}",
            f"measuring champion and challenger takes all of it, {used:.0f} s of {limit:.0f} s",
            "give more, or fewer seeds",
        )
    return limit - used


def used_by(studies: Iterable[OpenStudy]) -> tuple[float, float, float]:
    """Return what studies have used: resource units, seconds, and seconds of trials.

    The seconds are those that the studies have noted, as they do where the time is limited.
    """
    spent = seconds = trial_time = 0.0
    for opened in studies:
        keys = [(t.number, s) for t in opened.history.trials for s in range(t.segment + 1)]
        timed = [one for one in stored_outcomes(opened.store, keys) if one.ended]
        spent += opened.history.spent
        seconds += opened.history.elapsed
        trial_time += sum(one.ended - one.started for one in timed)
    return spent, seconds, trial_time
