"""What tuneflow brings to Airflow, for Airflow to read without importing any of it."""

from __future__ import annotations

from typing import Any

from tuneflow import __version__


def get_provider_info() -> dict[str, Any]:
    """Return the provider, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "tuneflow",
        "name": "tuneflow",
        "description": "Hyperparameter tuning on Dask as tasks of a DAG.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Dask",
                "external-doc-url": "https://docs.dask.org/",
                "tags": ["software", "machine-learning"],
            }
        ],
        "hooks": [{"integration-name": "Dask", "python-modules": ["tuneflow.airflow.hook"]}],
        "operators": [
            {
                "integration-name": "Dask",
                "python-modules": [
                    "tuneflow.airflow.tune_operator",
                    "tuneflow.airflow.stage_operators",
                    "tuneflow.airflow.retune_operators",
                    "tuneflow.airflow.drift_operator",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": "Dask",
                "python-modules": [
                    "tuneflow.airflow.driver_trigger",
                    "tuneflow.airflow.segments_trigger",
                ],
            }
        ],
        "connection-types": [_connection_type()],
        "task-decorators": [{"class-name": "tuneflow.airflow.decorator.tune_task", "name": "tune"}],
        "extra-links": [
            "tuneflow.airflow.links.DaskDashboardLink",
            "tuneflow.airflow.links.ReportLink",
        ],
        "config": {"tuneflow": _config()},
    }


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "dask",
        "hook-class-name": "tuneflow.airflow.hook.DaskHook",
        "hook-name": "Dask",
        "conn-fields": {
            "protocol": _field(
                "Protocol",
                "How to speak to the scheduler. Default: tcp, or tls with a certificate authority.",
                enum=["tcp", "tls", "ws", "wss"],
            ),
            "tls_ca_file": _field(
                "TLS certificate authority", "A PEM file, on every machine that runs Airflow."
            ),
            "tls_cert_file": _field("TLS certificate", "The client's, as a PEM file."),
            "tls_key_file": _field("TLS key", "The client's, as a PEM file."),
            "timeout": _field(
                "Timeout",
                "Seconds to wait for the scheduler and for a first worker. Default: 10.",
                kind="number",
            ),
            "dashboard": _field(
                "Dashboard",
                "Where people see it in a browser. Default: where the scheduler says.",
                format="url",
            ),
        },
        "ui-field-behaviour": {
            "hidden-fields": ["login", "password", "schema"],
            "relabeling": {"host": "Scheduler", "port": "Port"},
            "placeholders": {"host": "10.0.0.5, or tls://10.0.0.5:8786", "port": "8786"},
        },
    }


def _field(label: str, description: str, *, kind: str = "string", **schema: Any) -> dict[str, Any]:
    """Return a field of the connection's form that may stay empty."""
    return {
        "label": label,
        "description": description,
        "schema": {"type": [kind, "null"], **schema},
    }


def _config() -> dict[str, Any]:
    return {
        "description": "What Airflow shows of tuneflow.",
        "options": {
            "report_tab": {
                "description": 'Whether the page of every DAG run has the tab "Tuning report".',
                "version_added": "0.1.0",
                "type": "boolean",
                "example": None,
                "default": "True",
            }
        },
    }
