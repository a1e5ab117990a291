"""The DAG that is being made: its folder, and the params that a user can set for a run."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from airflow.sdk import Param, TaskGroup
from airflow.sdk.definitions._internal.contextmanager import DagContext


def current_folder() -> Path:
    """Return the folder of the file of the DAG that is being made, or else of who calls us."""
    dag = DagContext.get_current()
    return Path(dag.fileloc if dag is not None else _calling_file()).parent


def _calling_file() -> str:
    """Return the file of the code that is neither ours nor Airflow's."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("tuneflow", "airflow"):
            return frame.f_code.co_filename
        frame = frame.f_back
    return str(Path.cwd() / "dag.py")


def defaults_of(group: TaskGroup) -> dict[str, Any]:
    """Return what Airflow takes for the arguments of a group's tasks that are not given."""
    return {**group.dag.default_args, **group.default_args}


def add_params() -> None:
    """Add the params of `tuneflow.pipeline.template.PARAMS` to the DAG, but for those it has."""
    dag = DagContext.get_current()
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
