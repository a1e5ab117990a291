"""Which round of a study a pipeline's run begins at.

A run that goes on with a study begins at the round that is open. It has to begin there again when
its tasks are repeated, so that is written down once: a DAG has as many stages as a study can need
rounds, and they have to be enough for what is left.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

from tuneflow.errors import CorruptError, StudyNotFoundError
from tuneflow.nearest import usable_trials
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes
from tuneflow.rounds import forget_failed, open_round
from tuneflow.store import AlreadyExists, NotFound, Store
from tuneflow.trial import TrialState


def begin_run(
    opened: OpenStudy,
    pipeline: str,
    run_id: str,
    *,
    retry_failed: bool,
    orchestrator: str = "airflow",
) -> int:
    """Return the round that a run begins at, the same however often it is asked.

    A study that was halted goes on; with ``retry_failed``, so does one that has finished with
    failed trials. Failures of the round that is open are forgotten if the user says so, and if
    there is nothing but failures to go on with.

    Args:
        opened: the study.
        pipeline: the id of the DAG, or of the flow's deployment.
        run_id: of the run.
        retry_failed: see above.
        orchestrator: whose ids these are.
    """
    path = _path(orchestrator, pipeline, run_id)
    if not opened.store.exists(path):
        first = _first(opened, retry_failed=retry_failed)
        _forget_failures(opened, all_of_them=retry_failed)
        note = {"pipeline": pipeline, "run_id": run_id, "first_round": first}
        with suppress(AlreadyExists):
            opened.store.create(path, json.dumps(note).encode())
    return first_round(opened.store, pipeline, run_id, orchestrator)


def first_round(store: Store, pipeline: str, run_id: str, orchestrator: str = "airflow") -> int:
    """Return the round that a run has begun at. Raises StudyNotFoundError if it has not."""
    path = _path(orchestrator, pipeline, run_id)
    try:
        note: dict[str, Any] = json.loads(store.get(path))
        return int(note["first_round"])
    except NotFound:
        raise StudyNotFoundError(
            f"the run {run_id} has not begun the study {store.url}; clear its first search task"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{store.url}/{path} does not say where the run began") from error


def _first(opened: OpenStudy, *, retry_failed: bool) -> int:
    history = opened.history
    has_failed = history.counts[TrialState.FAILED] > 0
    again = retry_failed and history.state == "finished" and has_failed
    if history.halted is not None or again:
        return open_round(opened, opened.rounds, retry_failed=again).number
    return max(opened.rounds - 1, 0)


def _forget_failures(opened: OpenStudy, *, all_of_them: bool) -> None:
    keys = [segment.key for segment in opened.history.open_segments()]
    outcomes = stored_outcomes(opened.store, keys)
    failed = [outcome.key for outcome in outcomes if outcome.failure is not None]
    is_hopeless = len(failed) == len(keys) and not usable_trials(opened.history)
    if all_of_them or is_hopeless:
        for key in failed:
            forget_failed(opened, key)


def _path(orchestrator: str, pipeline: str, run_id: str) -> str:
    digest = hashlib.sha256(f"{pipeline}\n{run_id}".encode()).hexdigest()
    return f"runs/{orchestrator}-{digest[:32]}.json"
