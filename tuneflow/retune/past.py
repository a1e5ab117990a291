"""What the earlier studies of a line have found, and how much lower or higher all is today."""

from __future__ import annotations

from collections.abc import Iterator

from tuneflow.retune.line import Retune
from tuneflow.retune.measuring import without_key
from tuneflow.retune.observations import observations
from tuneflow.retune.plan import Plan
from tuneflow.retune.prior import Past
from tuneflow.study import Study


def past_of(retune: Retune) -> Iterator[Past]:
    """Yield what earlier studies of the line have found, the newest first.

    Their values are shifted by how the champion's have moved since then.
    """
    line, key, levels = retune.line, retune.plan.seed_key, _levels(retune)
    for number in range(retune.number - 1, -1, -1):
        earlier = line.retune(number) if number else None
        opened = earlier.study("search") if earlier else line.base()
        if opened is not None and _is_comparable(opened.study, retune.plan):
            yield Past(
                without_key(opened.study.space, key),
                observations(opened.study, opened.history, key),
                levels[-1] - levels[number],
                retune.number - number - 1,
            )


def _levels(retune: Retune) -> list[float]:
    """Return how far the champion's value had moved by each retune, up to this one.

    What a retune's champion is compared with is mostly the retune before, but an older one where
    that has failed, or where somebody has rolled back.
    """
    levels = [0.0]
    for number in range(1, retune.number + 1):
        one = retune.line.retune(number)
        levels.append(levels[one.compared_with] + one.drift())
    return levels


def _is_comparable(study: Study, plan: Plan) -> bool:
    goal = (plan.study["metric"], plan.study["mode"])
    return (study.metric, study.mode) == goal
