"""What tuneflow tells Airflow of itself, as Airflow reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files

import jsonschema
import pytest
from airflow.plugins_manager import get_fastapi_plugins, get_plugin_info
from airflow.providers_manager import ProvidersManager
from airflow.sdk import task
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from tuneflow.airflow.decorator import tune_task
from tuneflow.airflow.plugin import TuneflowPlugin
from tuneflow.airflow.provider import get_provider_info
from tuneflow.airflow.versions import has_cookie_login

CONNECTION_FIELDS = {
    "protocol",
    "tls_ca_file",
    "tls_cert_file",
    "tls_key_file",
    "timeout",
    "dashboard",
}


def schema(name):
    return json.loads(files("airflow").joinpath(name).read_text())


class TestInfo:
    def test_it_is_what_airflow_wants_to_read(self):
        jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))

    @pytest.mark.parametrize("part", sorted(get_provider_info()))
    def test_each_part_is_as_in_the_strict_form_of_airflow_s_own_providers(self, part):
        strict = schema("provider.yaml.schema.json")
        whole = {
            "properties": {part: strict["properties"][part]},
            "definitions": strict["definitions"],
        }
        jsonschema.validate({part: get_provider_info()[part]}, whole)

    def test_every_class_and_module_that_it_names_can_be_imported(self):
        info = get_provider_info()
        names = [one["hook-class-name"] for one in info["connection-types"]]
        names += [one["class-name"] for one in info["task-decorators"]]
        names += info["extra-links"]
        assert all(callable(import_string(name)) for name in names)
        for part in ("hooks", "operators", "triggers"):
            for one in info[part]:
                assert all(__import__(module) for module in one["python-modules"])

    def test_it_is_read_without_importing_airflow_or_anything_heavy(self):
        code = (
            "import sys; from tuneflow.airflow.provider import get_provider_info; "
            "get_provider_info(); print(*sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        loaded = {name.partition(".")[0] for name in done.stdout.split()}
        assert loaded.isdisjoint({"airflow", "distributed", "fastapi", "optuna", "obstore"})

    @pytest.mark.parametrize(
        ("group", "name", "value"),
        [
            ("apache_airflow_provider", "provider_info", get_provider_info),
            ("airflow.plugins", "tuneflow", TuneflowPlugin),
        ],
    )
    def test_airflow_finds_it_by_an_entry_point(self, group, name, value):
        found = entry_points(group=group, name=name)
        assert [one.load() for one in found if one.module.startswith("tuneflow.")] == [value]


class TestProvidersManager:
    def test_the_connection_type_is_known_with_its_hook(self):
        hook = ProvidersManagerTaskRuntime().hooks["dask"]
        assert hook.hook_name == "Dask"
        assert hook.package_name == "tuneflow"
        assert hook.connection_id_attribute_name == "conn_id"
        assert hook.connection_testable

    def test_the_form_has_the_fields_of_a_scheduler_and_no_password(self):
        manager = ProvidersManager()
        prefix = "extra__dask__"
        widgets = {
            name.removeprefix(prefix): widget
            for name, widget in manager.connection_form_widgets.items()
            if name.startswith(prefix)
        }
        assert set(widgets) == CONNECTION_FIELDS
        assert not any(widget.is_sensitive for widget in widgets.values())
        assert {"login", "password"} <= set(manager.field_behaviours["dask"]["hidden_fields"])

    def test_the_links_of_its_operators_are_known(self):
        links = set(ProvidersManager().extra_links_class_names)
        assert {*get_provider_info()["extra-links"]} <= links

    def test_task_tune_is_the_decorator(self):
        assert task.tune is tune_task


class TestPlugin:
    def test_its_application_is_mounted_under_its_own_path(self):
        apps, _ = get_fastapi_plugins()
        assert [one["url_prefix"] for one in apps if "tuneflow" in one["name"]] == ["/tuneflow"]

    def test_a_run_has_a_tab_with_the_report_of_the_run(self):
        (info,) = [one for one in get_plugin_info() if one["name"] == "tuneflow"]
        (view,) = info["external_views"]
        assert view["destination"] == "dag_run"
        assert view["href"] == "tuneflow/report/{DAG_ID}/{RUN_ID}"

    def test_the_tab_can_be_switched_off(self, monkeypatch):
        monkeypatch.setenv("AIRFLOW__TUNEFLOW__REPORT_TAB", "False")
        assert TuneflowPlugin().external_views == []

    @pytest.mark.parametrize(
        ("version", "answer"),
        [("3.0.6", False), ("3.1.0", False), ("3.1.1", True), ("3.10.0rc1", True)],
    )
    def test_there_is_none_where_a_browser_could_not_open_it(self, version, answer, monkeypatch):
        monkeypatch.setattr("airflow.__version__", version)
        assert has_cookie_login() is answer
        assert bool(TuneflowPlugin().external_views) is answer

    def test_loading_it_imports_nothing_that_only_the_api_server_needs(self):
        code = "import sys, tuneflow.airflow.plugin; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.split())
        assert loaded.isdisjoint({"distributed", "optuna", "plotly", "obstore"})
        assert "tuneflow.airflow.report_route" not in loaded
