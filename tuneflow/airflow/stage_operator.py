"""What the operators of a stage share: which study it is, and which of its rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator

from tuneflow.airflow.defaults import RETRIES, RETRY_DELAY
from tuneflow.airflow.links import DaskDashboardLink, ReportLink
from tuneflow.airflow.storage_connection import provide_storage
from tuneflow.airflow.template import DagStudy
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.runs import first_round
from tuneflow.remote.orders import SegmentOrder
from tuneflow.store import Store


class StageOperator(BaseOperator):
    """An operator for one stage of a study.

    Args:
        template: the study as the DAG has it.
        study_name: its name; a Jinja template.
        storage: the storage's URL; a Jinja template.
        stage: 0, 1, 2, …
        retries: see Airflow; a worker or a cluster that is away for a moment fails no task.
        retry_delay: see Airflow.
        kwargs: what any Airflow operator takes.
    """

    template_fields: Sequence[str] = ("study_name", "storage")
    operator_extra_links = (ReportLink(), DaskDashboardLink())
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        template: DagStudy,
        study_name: str,
        storage: str,
        stage: int,
        retries: int = RETRIES,
        retry_delay: timedelta = RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        self.template = template
        self.study_name = study_name
        self.storage = storage
        self.stage = stage
        self.dashboard = ""

    def store(self, context: Mapping[str, Any]) -> Store:
        """Return the study's own store in this run of the DAG, with its credentials."""
        storage = provide_storage(self.template.storage_conn_id, self.storage)
        name = self.template.name(self.study_name, context["run_id"], context["params"])
        return Store(storage).child(name)

    def opened(self, context: Mapping[str, Any]) -> OpenStudy:
        """Return the study in this run of the DAG; it exists from the first search on."""
        return OpenStudy.open(self.store(context).expected().url)

    def orders(
        self,
        url: str,
        keys: Iterable[tuple[int, int]],
        attempt: int = 1,
        resources: Mapping[tuple[int, int], Mapping[str, Any] | None] | None = None,
    ) -> list[SegmentOrder]:
        """Return what to ask of Dask for segments of the study at a URL.

        ``resources`` are those of segments that do not have the study's.
        """
        code, template, own = self.template.code(), self.template, resources or {}
        return [
            SegmentOrder(
                url, *key, code, attempt, template.isolation, template.timeout, own.get(key)
            )
            for key in keys
        ]

    def round_number(self, opened: OpenStudy, context: Mapping[str, Any]) -> int:
        """Return the round that this stage stands for."""
        return first_round(opened.store, context["dag"].dag_id, context["run_id"]) + self.stage
