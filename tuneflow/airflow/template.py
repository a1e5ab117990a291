"""A study as a DAG has it."""

from __future__ import annotations

from dataclasses import dataclass

from tuneflow.pipeline.template import StudyTemplate


@dataclass(frozen=True)
class DagStudy(StudyTemplate):
    """A study whose name and storage are known when a DAG runs.

    Attributes:
        conn_id: the Airflow connection of the Dask cluster.
    """

    conn_id: str = "dask_default"
