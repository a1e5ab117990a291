"""Which round of a study the first stage of a DAG run stands for.

A DAG has as many stages as a study can need rounds. A run that goes on with a study begins at the
round that is open, so that the stages are enough for what is left. It has to begin there again
when its tasks are repeated, so that is written down once.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

from tuneflow.errors import CorruptError, StudyNotFoundError
from tuneflow.opened import OpenStudy
from tuneflow.rounds import open_round
from tuneflow.store import AlreadyExists, NotFound, Store


def begin_run(opened: OpenStudy, dag_id: str, run_id: str, *, retry_failed: bool) -> int:
    """Return the round that a DAG run begins at, the same however often it is asked.

    A study that was halted goes on; with ``retry_failed``, so does one that has finished with
    failed trials.
    """
    path = _path(dag_id, run_id)
    if not opened.store.exists(path):
        first = _first(opened, retry_failed=retry_failed)
        note = {"dag_id": dag_id, "run_id": run_id, "first_round": first}
        with suppress(AlreadyExists):
            opened.store.create(path, json.dumps(note).encode())
    return first_round(opened.store, dag_id, run_id)


def first_round(store: Store, dag_id: str, run_id: str) -> int:
    """Return the round that a DAG run has begun at. Raises StudyNotFoundError if it has not."""
    path = _path(dag_id, run_id)
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
    has_failed = any(trial.state == "failed" for trial in history.trials)
    again = retry_failed and history.state == "finished" and has_failed
    if history.halted is not None or again:
        return open_round(opened, opened.rounds, retry_failed=again).number
    return max(opened.rounds - 1, 0)


def _path(dag_id: str, run_id: str) -> str:
    digest = hashlib.sha256(f"{dag_id}\n{run_id}".encode()).hexdigest()
    return f"runs/airflow-{digest[:32]}.json"
