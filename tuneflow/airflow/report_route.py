"""The report of a DAG run's study, rendered when Airflow's API server is asked for it.

Which study that is stands in what the run's tasks have pushed, never in the request. Who may read
that may see the report.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from sqlalchemy import select
from starlette.exceptions import HTTPException

from tuneflow.airflow.storage_connection import CONNECTION, provide_storage
from tuneflow.errors import MissingDependencyError, StudyNotFoundError, TuneflowError
from tuneflow.opened import OpenStudy
from tuneflow.views.html import policy, report

_AT_ONCE = 2
"""Reports that one process renders at the same time; the others wait for their turn."""

_HEADERS = {
    "Cache-Control": "private, no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = Environment(autoescape=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>Tuning report</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem; max-width: 50rem }</style>
</head>
<body>
<p>{{ sentence }}</p>
{% if links %}
<ul>{% for href, name in links %}<li><a href="{{ href }}">{{ name }}</a></li>{% endfor %}</ul>
{% endif %}
</body>
</html>
""")


def make_app() -> FastAPI:
    """Return what is mounted in the API server."""
    app = FastAPI(title="tuneflow", openapi_url=None)
    app.add_exception_handler(HTTPException, _refuse)
    access = [Depends(requires_access_dag("GET", DagAccessEntity.XCOM))]
    show = _Reports().show
    for path in ("/report/{dag_id}/{run_id}", "/report/{dag_id}/{run_id}/{task_id}"):
        app.add_api_route(path, show, dependencies=access, response_class=HTMLResponse)
    return app


class _Reports:
    """Renders reports in threads, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def show(self, dag_id: str, run_id: str, task_id: str = "") -> HTMLResponse:
        """Answer with the report of the study of a run, or of one of its tasks."""
        found = await asyncio.to_thread(_studies, dag_id, run_id)
        studies = nearest(found, task_id)
        if not studies:
            raise HTTPException(404, f"The run {run_id} of {dag_id} has no study (yet).")
        if len(studies) > 1:
            return _choice(run_id, studies)
        ((url, pushed_by),) = studies.items()
        async with self._turns:
            return await asyncio.to_thread(_report, url, (dag_id, run_id, pushed_by))


def nearest(pushed: Mapping[str, str], task_id: str) -> dict[str, str]:
    """Return the studies of a task: its own, or else those of the smallest group around it.

    Args:
        pushed: the URLs that a run's tasks have pushed, by the task's id.
        task_id: the task, or a group; empty for the whole run.

    Returns:
        For each study's URL, one of the tasks that pushed it.
    """
    group = task_id
    while group:
        inside = {t: url for t, url in pushed.items() if t == group or t.startswith(f"{group}.")}
        if inside:
            return _by_url(inside)
        group = group.rpartition(".")[0]
    return _by_url(pushed)


def _by_url(pushed: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for task_id, url in pushed.items():
        found.setdefault(url, task_id)
    return found


def _studies(dag_id: str, run_id: str) -> dict[str, str]:
    """Return the URLs of the studies of a run, by the task that pushed them, oldest first."""
    wanted = (
        select(XComModel.task_id, XComModel.value)
        .where(XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == "study")
        .order_by(XComModel.timestamp)
    )
    with create_session() as session:
        rows = session.execute(wanted).all()
    return {task_id: url for task_id, value in rows if (url := _url(value))}


def _url(value: Any) -> str | None:
    """Return what a task has pushed, if it is a text; some versions store that as JSON text."""
    if not isinstance(value, str):
        return None
    with suppress(ValueError):
        value = json.loads(value)
    return value if isinstance(value, str) else None


def _connection(dag_id: str, run_id: str, task_id: str) -> str | None:
    """Return the id of the connection for the study that a task has pushed, if it has any."""
    wanted = select(XComModel.value).where(
        XComModel.dag_id == dag_id,
        XComModel.run_id == run_id,
        XComModel.task_id == task_id,
        XComModel.key == CONNECTION,
    )
    with create_session() as session:
        found = session.execute(wanted).first()
    return _url(found[0]) if found else None


def _report(url: str, pushed_by: tuple[str, str, str]) -> HTMLResponse:
    try:
        provide_storage(_connection(*pushed_by), url)
        page = report(OpenStudy.open(url))
    except StudyNotFoundError as error:
        raise HTTPException(404, _unreadable(error)) from error
    except MissingDependencyError as error:
        raise HTTPException(501, f"On the machine of Airflow's API server, {error}") from error
    except TuneflowError as error:
        raise HTTPException(502, _unreadable(error)) from error
    # Sandboxed, it is a site of its own: it cannot act as the user who is logged in here.
    more = "frame-ancestors 'self'; sandbox allow-scripts allow-downloads"
    return HTMLResponse(page, headers=_headers(f"{policy()}; {more}"))


def _unreadable(error: TuneflowError) -> str:
    return (
        f"The report cannot be shown: {error}. Airflow's API server reads the study's storage, so "
        "it has to reach it, too."
    )


def _choice(run_id: str, studies: Mapping[str, str]) -> HTMLResponse:
    links = [
        (f"{quote(run_id, safe='')}/{quote(task_id, safe='')}", url)
        for url, task_id in studies.items()
    ]
    return _page("This run has several studies:", links=links)


async def _refuse(request: Request, error: HTTPException) -> HTMLResponse:
    """Say on a page why there is no report."""
    sentence = str(error.detail)
    if error.status_code == 401:
        sentence = f"{sentence}: log in to Airflow, and open this page again."
    return _page(sentence, error.status_code)


def _page(
    sentence: str, status: int = 200, links: list[tuple[str, str]] | None = None
) -> HTMLResponse:
    rules = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    page = _PAGE.render(sentence=sentence, links=links)
    return HTMLResponse(page, status, headers=_headers(f"{rules}; frame-ancestors 'self'"))


def _headers(content_security_policy: str) -> dict[str, str]:
    return {**_HEADERS, "Content-Security-Policy": content_security_policy}
