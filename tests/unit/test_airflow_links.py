"""Where the links on a task's page lead."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tuneflow.airflow.links import DaskDashboardLink, ReportLink

TASK = SimpleNamespace(
    dag_id="night/tuning", run_id="manual__2026-11-24T10:00:00+00:00", task_id="tune.best"
)
PATH = "tuneflow/report/night%2Ftuning/manual__2026-11-24T10%3A00%3A00%2B00%3A00/tune.best"


def report_link():
    return ReportLink().get_link(SimpleNamespace(), ti_key=TASK)


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("", f"/{PATH}"),
        ("https://airflow.example", f"https://airflow.example/{PATH}"),
        ("https://example.org/airflow/", f"https://example.org/airflow/{PATH}"),
    ],
)
def test_the_report_is_where_airflow_is(base_url, url, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert report_link() == url


def test_there_is_no_link_to_a_report_that_a_browser_could_not_open(monkeypatch):
    monkeypatch.setattr("airflow.__version__", "3.0.6")
    assert report_link() == ""


def test_the_dashboard_is_what_the_task_has_come_to_know():
    operator = SimpleNamespace(dashboard="http://10.0.0.5:8787/status")
    link = DaskDashboardLink().get_link(operator, ti_key=TASK)
    assert link == "http://10.0.0.5:8787/status"
