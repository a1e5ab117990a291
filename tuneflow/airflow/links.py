"""Links on a task's page."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom


class DaskDashboardLink(BaseOperatorLink):
    """The dashboard of the cluster that trials run on."""

    name = "Dask dashboard"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL, or an empty string."""
        return BaseXCom.get_value(key="dashboard", ti_key=ti_key) or ""


class ReportLink(BaseOperatorLink):
    """The report of the study."""

    name = "Tuning report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL."""
        return ""
