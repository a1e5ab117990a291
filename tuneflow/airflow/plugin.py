"""What tuneflow adds to Airflow's API server: the reports of studies, and a tab that shows them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tuneflow.airflow.links import PREFIX
from tuneflow.airflow.versions import conf, has_cookie_login

try:
    from airflow.sdk.plugins_manager import AirflowPlugin
except ImportError:
    from airflow.plugins_manager import AirflowPlugin


class TuneflowPlugin(AirflowPlugin):
    """Serves the reports of studies under ``/tuneflow``.

    Every process of Airflow loads its plugins; only the API server asks for these attributes, and
    only then is imported what they need.
    """

    name = "tuneflow"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The application that answers with a report."""
        from tuneflow.airflow.report_route import make_app

        return [{"app": make_app(), "url_prefix": f"/{PREFIX}", "name": "tuneflow reports"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:
        """The tab "Tuning report" of a DAG run, unless ``[tuneflow] report_tab`` is off."""
        if not has_cookie_login() or not conf.getboolean("tuneflow", "report_tab", fallback=True):
            return []
        return [
            {
                "name": "Tuning report",
                "destination": "dag_run",
                "url_route": "tuning_report",
                # Relative, for Airflow may live under a path of its own.
                "href": f"{PREFIX}/report/{{DAG_ID}}/{{RUN_ID}}",
            }
        ]
