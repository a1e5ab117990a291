"""The DAG that is being made: its folder, and the params that a user can set for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import Param
from airflow.sdk.definitions._internal.contextmanager import DagContext


def current_folder() -> Path:
    """Return the folder of the file of the DAG that is being made."""
    dag = DagContext.get_current_dag()
    return Path(dag.fileloc).parent if dag is not None else Path.cwd()


def add_params() -> None:
    """Add the params of `tuneflow.airflow.template.PARAMS` to the DAG, but for those it has."""
    dag = DagContext.get_current_dag()
    if dag is None:
        return
    for name, param in _params().items():
        if name not in dag.params:
            dag.params[name] = param


def _params() -> dict[str, Any]:
    return {
        "trials": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            description="How many trials; empty: as in the DAG.",
        ),
        "space": Param(
            None,
            type=["null", "object"],
            description='Parameters to search otherwise, such as {"lr": {"type": "float", '
            '"low": 0.001, "high": 0.1}}; empty: as in the DAG.',
        ),
        "budget": Param(
            None,
            type=["null", "object"],
            description='Limits to set otherwise, such as {"total_resource": 500}; empty: as in '
            "the DAG.",
        ),
        "existing": Param(
            None,
            enum=[None, "resume", "new"],
            description="Go on with the study of this name, or make a new one for this run; "
            "empty: as in the DAG.",
        ),
        "retry_failed": Param(
            False, type="boolean", description="Try the failed trials of the study again."
        ),
    }
