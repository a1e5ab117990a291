"""A study as a DAG has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneflow.pipeline.template import StudyTemplate


@dataclass(frozen=True)
class DagStudy(StudyTemplate):
    """A study whose name and storage are known when a DAG runs.

    Attributes:
        conn_id: the Airflow connection of the Dask cluster.
        storage_conn_id: that with the credentials for the storage, or None.
        is_made: whether a task before the first one makes the study, under the very name; where
            it has not, there is nothing to do.
        may_all_fail: whether the study goes on when all of its trials fail.
    """

    conn_id: str = "dask_default"
    storage_conn_id: str | None = None
    is_made: bool = False
    may_all_fail: bool = False

    def name(self, name: str, run_id: str, params: Mapping[str, Any]) -> str:
        """Return the study's name in one run; see `StudyTemplate.name`."""
        return name if self.is_made else super().name(name, run_id, params)
