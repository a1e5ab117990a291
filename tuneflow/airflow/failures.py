"""Turn tuneflow's errors into Airflow's: those that a retry may mend, and those it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuneflow.airflow.versions import AirflowException, AirflowFailException
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


@contextmanager
def explained() -> Iterator[None]:
    """Let a task fail with the sentence of the error, and without our own frames around it.

    Raises:
        AirflowException: a retry can succeed.
        AirflowFailException: it cannot, until a person has mended the cause.
    """
    try:
        yield
    except _MENDABLE as error:
        raise AirflowException(str(error)) from None
    except TuneflowError as error:
        raise AirflowFailException(str(error)) from None
