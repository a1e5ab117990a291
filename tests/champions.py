"""Champions and logs of champions, made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tuneflow.retune.champions import Champion, ChampionLog
from tuneflow.retune.verdict import compare

BEGAN = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)

CHAMPION = Champion(
    config={"lr": 0.01, "model": {"layers": 3, "act": "relu"}},
    metric="accuracy",
    mode="max",
    value=0.9,
    values=(0.89, 0.9, 0.91),
    seeds=(7, 11, 13),
    resource=9,
    checkpoint=None,
    study="file:///studies/digits/retunes/000001/challenger",
    trial=1,
    data_version="2026-11-23",
    space={"lr": {"type": "float", "low": 0.0, "high": 1.0}},
    retune=1,
)


def champion(value=0.9, **changes):
    """Return a champion that was measured at about this value."""
    values = (value - 0.01, value, value + 0.01)
    return replace(CHAMPION, value=value, values=values, **changes)


def clock(first=BEGAN, step=timedelta(hours=1)):
    """Return a clock that goes on by an hour whenever it is looked at."""
    times = iter(first + step * n for n in range(10_000))
    return lambda: next(times)


def log_of(store):
    return ChampionLog(store, clock()).read()


def promote(log, run, value=0.9, before=None, **changes):
    """Begin a retune and let it promote a champion."""
    number = log.begin(run=run, data_version=run, trigger="cron")
    theirs = champion(value, retune=number, data_version=run, **changes)
    found = None if before is None else compare(before.values, theirs.values, mode="max")
    return log.append(
        "promoted",
        {
            "champion": theirs.to_json(),
            "comparison": found and found.to_json(),
            "reason": "it is the first champion" if found is None else found.reason,
        },
        retune=number,
    )


def keep(log, run, value=0.9, **changes):
    """Begin a retune and let it keep the champion, which it has measured anew."""
    number = log.begin(run=run, data_version=run, trigger="cron")
    ours = replace(log.champion, value=value, values=(value, value), seeds=(1, 2), **changes)
    return log.append(
        "kept",
        {
            "champion": ours.to_json(),
            "challenger": None,
            "comparison": None,
            "reason": "the search found nothing better than the champion's own configuration",
        },
        retune=number,
    )
