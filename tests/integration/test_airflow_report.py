"""The report of a run's study, as Airflow's API server shows it to those who may see it."""

from __future__ import annotations

import secrets
import sys
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.sdk import DAG, BaseOperator
from fastapi.testclient import TestClient

import tuneflow
from tests.airflow_here import write_down
from tuneflow.airflow.report_route import nearest

pytestmark = [pytest.mark.integration, pytest.mark.one_process]


SETTINGS = {
    "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
    "metric": "loss",
    "mode": "min",
    "searcher": "random",
}


class Push(BaseOperator):
    """Pushes what the tasks of a study push."""

    def __init__(self, *, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context):
        context["ti"].xcom_push(key="study", value=self.value)


@pytest.fixture(scope="module")
def study(storages, tmp_path_factory):
    """The URL of a small study."""
    return tuneflow.tune(
        lambda config: config["rate"],
        name="small",
        storage=storages.new_url(tmp_path_factory.mktemp("studies")),
        trials=3,
        executor="inline",
        progress=False,
        **SETTINGS,
    ).url


@pytest.fixture(scope="module")
def api(airflow_database):
    """Airflow's web application, as its API server serves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_hex(64))
        with TestClient(create_app(apps="core")) as client:
            yield client


def token(role):
    """Return the token of a user who has logged in."""
    return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ann", role=role))


@pytest.fixture
def get(api):
    """Asks for a report as a user of a role, or as nobody; returns the answer."""

    def ask(run, task_id="", role="VIEWER"):
        headers = {} if role is None else {"Authorization": f"Bearer {token(role)}"}
        return api.get(url(run, task_id), headers=headers)

    return ask


def url(run, task_id=""):
    parts = [run.dag_id, run.run_id, *([task_id] if task_id else [])]
    return "/".join(["/tuneflow/report", *(quote(part, safe="") for part in parts)])


def pushed(dag_id, values):
    """Run a DAG whose tasks have pushed these values; return the run."""
    with DAG(dag_id, schedule=None) as dag:
        for task_id, value in values.items():
            Push(task_id=task_id, value=value)
    write_down(dag)
    return dag.test()


@pytest.fixture(scope="module")
def run(api, study):
    """A run with one study."""
    return pushed("one", {f"tune.stage_{number}.search": study for number in range(2)})


class TestAccess:
    def test_nobody_sees_it_without_logging_in(self, get, run):
        answer = get(run, role=None)
        assert answer.status_code == 401
        assert "log in to Airflow" in answer.text

    def test_a_token_that_somebody_made_up_is_refused(self, api, run):
        answer = api.get(url(run), headers={"Authorization": "Bearer made.up.token"})
        assert answer.status_code == 403

    def test_a_user_who_may_not_read_the_dag_is_refused(self, get, run):
        assert get(run, role="").status_code == 403

    def test_one_who_may_read_the_dag_sees_it(self, get, run):
        answer = get(run)
        assert answer.status_code == 200
        assert "tuneflow study" in answer.text

    def test_a_browser_that_is_logged_in_sees_it(self, api, run):
        api.cookies.set("_token", token("VIEWER"))
        try:
            assert api.get(url(run)).status_code == 200
        finally:
            api.cookies.clear()

    def test_which_study_it_is_cannot_be_said_in_the_request(self, api, run, tmp_path):
        other = {"study": f"file://{tmp_path}", "url": f"file://{tmp_path}"}
        headers = {"Authorization": f"Bearer {token('VIEWER')}"}
        answer = api.get(url(run), params=other, headers=headers)
        assert "<h1>small</h1>" in answer.text


class TestPage:
    def test_nothing_of_it_can_act_in_airflow_s_name_or_be_framed_elsewhere(self, get, run):
        headers = get(run).headers
        rules = dict(
            rule.strip().partition(" ")[::2]
            for rule in headers["Content-Security-Policy"].split(";")
        )
        assert rules["default-src"] == "'none'"
        assert "unsafe-inline" not in rules["script-src"]
        assert rules["frame-ancestors"] == "'self'"
        assert rules["sandbox"] == "allow-scripts allow-downloads"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "private, no-cache"

    def test_it_shows_the_study_as_it_is_now(self, api, get, storage):
        asked = tuneflow.create_study(name="asked", storage=storage, trials=2, **SETTINGS)
        run = pushed("grows", {"tune": asked.url})
        assert "no trials yet" in get(run).text
        trial = asked.ask()
        asked.tell(trial, 0.25)
        assert "no trials yet" not in get(run).text

    def test_the_pages_of_tasks_and_of_groups_are_that_of_their_study(self, get, run):
        for task_id in ("tune.stage_1.search", "tune.stage_0.trial", "tune.best", "tune"):
            assert get(run, task_id).status_code == 200

    def test_a_run_with_several_studies_offers_them(self, get, study):
        values = {"first.search": study, "second.search": "file:///nowhere/at/all"}
        run = pushed("two", values)
        answer = get(run)
        assert answer.status_code == 200
        for task_id, name in values.items():
            assert f'<a href="{quote(run.run_id, safe="")}/{task_id}">{name}</a>' in answer.text
        assert get(run, "first.best").status_code == 200
        assert get(run, "second.best").status_code == 404


class TestWithout:
    def test_a_run_without_a_study_is_a_sentence(self, get):
        run = pushed("none", {"other": {"name": "not a URL"}})
        answer = get(run)
        assert answer.status_code == 404
        assert f"The run {run.run_id} of none has no study (yet)." in answer.text

    def test_a_run_that_is_not_there_is_a_sentence(self, get):
        answer = get(SimpleNamespace(dag_id="nowhere", run_id="<script>"))
        assert answer.status_code == 404
        assert "The run &lt;script&gt; of nowhere has no study" in answer.text

    def test_a_storage_that_the_server_cannot_reach_is_a_sentence(self, get):
        run = pushed("away", {"tune": "file:///nowhere/at/all"})
        answer = get(run)
        assert answer.status_code == 404
        assert "file:///nowhere/at/all" in answer.text
        assert "API server reads the study&#39;s storage" in answer.text

    def test_a_url_that_no_store_has_is_a_sentence(self, get):
        answer = get(pushed("odd", {"tune": "gopher://somewhere/study"}))
        assert answer.status_code == 502
        assert "gopher" in answer.text

    def test_a_package_that_is_missing_on_the_server_is_named(self, get, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "plotly", None)
        answer = get(run)
        assert answer.status_code == 501
        assert "pip install &#39;tuneflow[report]&#39;" in answer.text


PUSHED = {
    "tune.stage_0.search": "a",
    "tune.stage_1.search": "a",
    "other.tune.stage_0.search": "b",
    "whole": "c",
}


class TestNearest:
    @pytest.mark.parametrize(
        ("task_id", "urls"),
        [
            ("tune.stage_1.search", ["a"]),
            ("tune.stage_0.trial", ["a"]),
            ("tune.best", ["a"]),
            ("other.tune.best", ["b"]),
            ("other.prepare", ["b"]),
            ("whole", ["c"]),
            ("elsewhere", ["a", "b", "c"]),
            ("", ["a", "b", "c"]),
        ],
    )
    def test_it_is_the_study_of_the_smallest_group_around_a_task(self, task_id, urls):
        assert list(nearest(PUSHED, task_id)) == urls


@pytest.mark.slow
@pytest.mark.timeout(300)
class TestSystem:
    """The API server of a whole Airflow, after a run of a pipeline."""

    def test_the_link_of_a_task_leads_to_the_report(self, airflow_system, rungs):
        airflow = airflow_system.airflow
        for task_id in ("tune.stage_0.search", "tune.stage_2.schedule", "tune.best"):
            path = f"/dags/rungs/dagRuns/{rungs}/taskInstances/{task_id}/links"
            link = airflow.call("GET", path)["extra_links"]["Tuning report"]
            answer = airflow._client.get(f"{airflow.url}{link}", timeout=60)
            assert answer.status_code == 200
            assert "<h1>rungs</h1>" in answer.text

    def test_a_connection_can_be_tested_in_its_form(self, airflow_system):
        body = {
            "connection_id": "tried",
            "conn_type": "dask",
            "host": "127.0.0.1",
            "port": airflow_system.dask.port,
        }
        answer = airflow_system.airflow.call("POST", "/connections/test", json=body)
        assert answer["status"], answer["message"]
        assert "workers: 2, threads: 40" in answer["message"]
