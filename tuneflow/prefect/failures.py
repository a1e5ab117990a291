"""How the tasks of a flow fail, and which of their failures another try may mend."""

from __future__ import annotations

from typing import Any

from tuneflow.errors import (
    ClusterError,
    MissingDependencyError,
    SearcherError,
    StorageError,
    StudyConflictError,
    TuneflowError,
)

_MENDABLE = (
    ClusterError,
    MissingDependencyError,
    SearcherError,
    StorageError,
    StudyConflictError,
)
"""What may be gone at the next try: a place that is away, a twin, a package installed since."""


class TrialFailedError(TuneflowError):
    """A trial failed by its own code; the study has its own rules for that."""


class RoundFailedError(TuneflowError):
    """The trials of a round left nothing to go on with."""


def is_without_outcome(task: Any, task_run: Any, state: Any) -> bool:
    """Whether Prefect should run a trial's task again, as its ``retry_condition_fn``."""
    return not isinstance(state.data, TrialFailedError)


def is_mendable(task: Any, task_run: Any, state: Any) -> bool:
    """Whether Prefect should try again what is no trial, as its ``retry_condition_fn``."""
    return isinstance(state.data, _MENDABLE)
