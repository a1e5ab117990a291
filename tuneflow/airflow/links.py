"""Links on a task's page; Airflow asks for them in the task's process, when it ends or defers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from tuneflow.airflow.versions import conf, has_cookie_login

PREFIX = "tuneflow"
"""The path of Airflow's API server under which it serves what is tuneflow's."""


class DaskDashboardLink(BaseOperatorLink):
    """The dashboard of the cluster that trials run on, as far as the task has come to know it."""

    name = "Dask dashboard"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL, or an empty string."""
        return str(operator.dashboard)


class ReportLink(BaseOperatorLink):
    """The report of the study, as it is when the link is followed."""

    name = "Tuning report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL, or an empty string where a browser could not open it."""
        if not has_cookie_login():
            return ""
        site = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
        place = (ti_key.dag_id, ti_key.run_id, ti_key.task_id)
        return "/".join([site, PREFIX, "report", *(quote(part, safe="") for part in place)])
