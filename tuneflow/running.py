"""A trial on a worker: where it starts from, and what is handed from segment to segment.

A segment starts from, in this order: the newest good checkpoint that an earlier run of the same
segment left; the trial itself, if this process keeps it suspended; the checkpoint it is given, or
where that is damaged the newest good one before it; or nothing.
"""

from __future__ import annotations

import functools
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tuneflow.checkpoints import Checkpoints
from tuneflow.errors import CheckpointCorruptError
from tuneflow.job import Job
from tuneflow.objective.metrics import reported_instead
from tuneflow.objective.output import Log
from tuneflow.objective.stream import Context, Objective, Stream
from tuneflow.objective.warm import WarmTrial, warm_trials
from tuneflow.store import NotFound, Store
from tuneflow.trial import Report, Resource, Segment, checkpoint_prefix

_log = logging.getLogger("tuneflow")

# Something else that lies among the checkpoints is none.
_LEVEL: Final = re.compile(r"/[0-9]+-([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\.json$")


@dataclass(frozen=True, eq=False)
class RunningTrial:
    """A trial in progress.

    Attributes:
        stream: the running objective.
        root: the trial's directory, with all that is in it.
        origin: where the stream began.
        earlier: what the stream reported and the present segment does not count.
    """

    stream: Stream
    root: Path
    origin: Origin
    earlier: tuple[Report, ...] = ()

    def close(self, grace: float) -> bool:
        """End it and remove its directory; return whether it is gone."""
        gone = self.stream.close(grace)
        shutil.rmtree(self.root, ignore_errors=True)
        return gone


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a segment's run starts.

    Attributes:
        start: the level.
        checkpoint: reference of the checkpoint, or None.
        reports: what an earlier run of the segment reported up to there.
    """

    start: Resource
    checkpoint: str | None
    reports: tuple[Report, ...] = ()


def make_context(job: Job, segment: Segment, root: Path, start: Resource, log: Log) -> Context:
    """Return what an objective runs in, from ``start``, in the trial's directory."""
    restore = root / "restore"
    resources = {**job.resources, **(segment.resources or {})}
    return Context(
        segment=replace(segment, resources=resources),
        metric=job.metric,
        start=start,
        restore=restore if restore.exists() else None,
        directory=root / "work",
        every=job.checkpoint_every,
        seconds=job.checkpoint_seconds,
        log=log,
        env=job.env,
        grace=job.grace,
    )


def take_warm(
    job: Job, objective: Objective, segment: Segment, log: Log
) -> tuple[RunningTrial, tuple[Report, ...]] | None:
    """Let a suspended trial go on with a segment; return it and the reports that are made already.

    A suspended trial that is of no use to the segment is closed.
    """
    warm = warm_trials.take(job.storage, segment.trial)
    if warm is None:
        return None
    replayed = warm.replay(objective, segment)
    if replayed is None:
        warm.close()
        return None
    trial: RunningTrial = warm.trial
    start = warm.reports[-1].resource if warm.reports else warm.start
    trial.stream.resume(make_context(job, segment, trial.root, start, log))
    earlier = warm.reports[: len(warm.reports) - len(replayed)]
    return RunningTrial(trial.stream, trial.root, trial.origin, earlier), replayed


def keep_warm(
    job: Job,
    objective: Objective,
    segment: Segment,
    trial: RunningTrial,
    reports: Sequence[Report],
) -> None:
    """Suspend a trial for its next segment."""
    trial.stream.suspend()
    warm = WarmTrial(
        trial=trial,
        objective=objective,
        params=segment.params,
        resources=segment.resources,
        start=trial.origin.start,
        checkpoint=trial.origin.checkpoint,
        reports=(*trial.earlier, *reports),
        close=functools.partial(trial.close, job.grace),
    )
    warm_trials.put(job.storage, segment.trial, warm, job.warm)


def own_checkpoints(segment: Segment, keys: Sequence[str]) -> list[str]:
    """Return which keys are checkpoints that an earlier run of the segment left, oldest first."""
    prefix = checkpoint_prefix(*segment.key)
    return sorted(
        (key for key in keys if key.startswith(prefix) and _LEVEL.search(key)), key=_level
    )


def restore(
    checkpoints: Checkpoints, segment: Segment, own: Sequence[str], target: Path, store: Store
) -> Origin:
    """Fetch the checkpoint to start from into ``target``, which is not made if there is none.

    A damaged one is reported as a warning, and the newest good one before it is taken.

    Args:
        checkpoints: the study's.
        segment: what is to be run.
        own: the checkpoints of an earlier run of it, oldest first.
        target: a folder that does not exist.
        store: the study's store.

    Raises:
        CheckpointCorruptError: the checkpoint that the segment is given is missing or damaged, and
            the trial has no other one that is good.
    """
    good = checkpoints.restore_newest(own, target) if own else None
    if good is not None:
        ref, manifest = good
        return Origin(_level(ref), ref, tuple(map(Report.from_json, manifest.reports)))
    shutil.rmtree(target, ignore_errors=True)
    if segment.checkpoint is None:
        return Origin(segment.start, None)
    try:
        _fetch(checkpoints, segment.checkpoint, target)
    except CheckpointCorruptError as error:
        _log.warning("looking for an older checkpoint: %s", error)
        good = checkpoints.restore_newest(_earlier(segment, store), target)
        if good is None:
            raise
        # To whoever decides what is kept, this one is outdated.
        checkpoints.forget()
        # Levels that are reported again add nothing.
        return Origin(_level(good[0]), good[0])
    return Origin(segment.start, segment.checkpoint)


def _earlier(segment: Segment, store: Store) -> list[str]:
    """Return the checkpoints that earlier segments left on the way to this one, oldest first.

    Those of other parameters led elsewhere.
    """
    kept = store.list(f"trials/{segment.trial:06d}/checkpoints")
    before = tuple(
        checkpoint_prefix(segment.trial, number) for number in range(segment.since, segment.segment)
    )
    found = [key for key in kept if key.startswith(before) and _LEVEL.search(key)]
    return sorted(
        (key for key in found if _level(key) <= segment.start and key != segment.checkpoint),
        key=_level,
    )


def _fetch(checkpoints: Checkpoints, ref: str, target: Path) -> None:
    try:
        checkpoints.restore(ref, target)
    except NotFound as error:
        message = f"the checkpoint to start from, {ref}, does not exist"
        raise CheckpointCorruptError(message) from error


def _level(ref: str) -> Resource:
    """Return the level in a checkpoint's reference."""
    match = _LEVEL.search(ref)
    if match is None:
        raise CheckpointCorruptError(f"{ref} is not the name of a checkpoint")
    text = match[1]
    return int(text) if text.isdigit() else float(text)


def after(ref: str | None, refs: Sequence[str]) -> list[str]:
    """Return the references that follow ``ref``; all of them if it is not one of them."""
    return list(refs[refs.index(ref) + 1 :]) if ref in refs else list(refs)


def unreported(
    metric: str, segment: Segment, reports: Sequence[Report], stream: Stream | None
) -> str | None:
    """Return what a segment that came to its end reported instead of the metric, and what to do.

    None where there is nothing to say, as of one that went on from where it had nothing more to do.
    """
    names = list(dict.fromkeys(name for report in reports for name in report.metrics))
    if metric in names or (not names and segment.start > 0):
        return None
    return reported_instead(metric, names) or (stream.hint(metric) if stream else "")


def least(*limits: float | None) -> float | None:
    """Return the smallest of the limits that there are."""
    return min((limit for limit in limits if limit is not None), default=None)
