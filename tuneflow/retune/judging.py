"""From what was measured to the record that ends a retune."""

from __future__ import annotations

import math
from typing import Any

from tuneflow.opened import OpenStudy
from tuneflow.retune.champions import Champion
from tuneflow.retune.line import Retune
from tuneflow.retune.measuring import Measured, without_key
from tuneflow.retune.verdict import compare


def verdict_on(
    retune: Retune, champion: Measured | None, challenger: Measured | None, problem: str
) -> tuple[str, dict[str, Any]]:
    """Return the type of the record that ends a retune, and what is in it.

    Args:
        retune: the retune.
        champion: what measuring the champion came to; None where there was none.
        challenger: likewise.
        problem: why there is no challenger; empty when there is one.
    """
    plan = retune.plan
    ours = _as_champion(retune, champion, "champion")
    theirs = _as_champion(retune, challenger, "challenger")
    said: dict[str, Any] = {"champion": ours, "challenger": theirs, "comparison": None}
    if challenger is None or theirs is None:
        return "kept", {**said, "reason": problem or "the challenger has no usable value"}
    if champion is None:
        return "promoted", {**said, "champion": theirs, "reason": "it is the first champion"}
    comparison = compare(
        champion.values,
        challenger.values,
        mode=plan.study["mode"],
        margin=plan.margin,
        confidence=plan.confidence,
        test=plan.test,
        replace_unmeasured=plan.replace_unmeasured,
    )
    said |= {"comparison": comparison.to_json(), "reason": comparison.reason}
    if comparison.is_better:
        return "promoted", {**said, "champion": theirs, "before": ours}
    return "kept", said


def _as_champion(retune: Retune, found: Measured | None, phase: str) -> dict[str, Any] | None:
    """Return what was measured as the record has it; of an unusable champion, what is known."""
    if found is None:
        return None
    before = retune.before if phase == "champion" else None
    if not math.isfinite(found.value):
        return before.to_json() if before is not None else None
    opened = OpenStudy.open(found.study)
    return Champion(
        config=found.config,
        metric=opened.study.metric,
        mode=opened.study.mode,
        value=found.value,
        values=found.values,
        seeds=found.seeds,
        resource=found.resource,
        checkpoint=found.checkpoint or (before.checkpoint if before else None),
        study=found.study,
        trial=found.trial,
        data_version=str(retune.began.data["data_version"]),
        space=without_key(opened.study.space, retune.plan.seed_key).to_json(),
        retune=retune.number if before is None else before.retune,
    ).to_json()
