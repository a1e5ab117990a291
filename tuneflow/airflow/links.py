"""Links on a task's page."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink


class DaskDashboardLink(BaseOperatorLink):
    """The dashboard of the cluster that trials run on, as far as the task has come to know it."""

    name = "Dask dashboard"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL, or an empty string; called in the task's process, when it ends."""
        return str(operator.dashboard)


class ReportLink(BaseOperatorLink):
    """The report of the study."""

    name = "Tuning report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL."""
        return ""
