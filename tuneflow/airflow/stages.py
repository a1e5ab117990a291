"""How many stages a DAG needs: the most rounds that a study can take.

A DAG has no loops, so the rounds of a study are unrolled when it is parsed. How many there can be
is seen by running the pure core with made-up results, which takes milliseconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.searchers.random import Random
from tuneflow.study import Study, decide, record_outcome
from tuneflow.trial import Outcome, Report, Segment

SPARE = 2
"""Stages beyond the bound, for rounds in which nothing but lost trials is tried again."""

_MOST = 2000
"""Rounds after which a study counts as one without an end."""

_ONE_REPORT = 1.0

Values: TypeAlias = Callable[[int, float], float]
"""A made-up value of the metric for a trial's number and level."""


def bound(study: Study) -> int | None:
    """Return how many rounds a study can take, if no trial is lost; None if nothing says so.

    The largest number of several runs with made-up results: where the order of the results
    matters, those in which each trial is better than the ones before it, or worse, are the
    extremes.
    """
    if not study.is_bounded:
        return None
    dry = replace(study, searcher=Random(), trials=_trials(study))
    counts = [_rounds(dry, values) for values in _made_up()]
    return None if None in counts else max(count for count in counts if count is not None)


def default_stages(study: Study) -> int:
    """Return how many stages a DAG should have for a study.

    Raises SpecError: nothing bounds the number of rounds.
    """
    found = bound(study)
    if found is None:
        raise SpecError(
            "stages",
            "nothing says how many stages this study can need",
            "give stages=, or a number of trials",
        )
    return found + SPARE


def _trials(study: Study) -> int | None:
    """Return how many trials there will be, which a searcher may know best."""
    known = study.searcher.trials(study.space)
    limits = [limit for limit in (study.trial_limit, known) if limit is not None]
    return min(limits, default=None)


def _made_up() -> Iterator[Values]:
    yield lambda trial, level: trial + level
    yield lambda trial, level: -trial - level
    generator = random.Random(0)
    yield lambda trial, level: generator.random()


def _rounds(study: Study, values: Values) -> int | None:
    history = study.history()
    decide(study, history)
    count = 0
    while history.running:
        count += 1
        if count > _MOST:
            return None
        for segment in list(history.open_segments()):
            record_outcome(study, history, _outcome(study, history, segment, values))
        decide(study, history)
    return count


def _outcome(study: Study, history: History, segment: Segment, values: Values) -> Outcome:
    """Return the outcome of a segment that goes as it should."""
    level = segment.until if segment.until is not None else segment.start + _ONE_REPORT
    report = Report(level, {study.metric: values(segment.trial, level)}, "made-up.json")
    status = "completed" if segment.until is None else "paused"
    return Outcome(*segment.key, status, reports=(report,))
