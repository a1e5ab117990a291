"""The DAG that is being made: its folder, and the params that a user can set for a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow.sdk import Param, TaskGroup
from airflow.sdk.definitions._internal.contextmanager import DagContext

from tuneflow.airflow.versions import AirflowException
from tuneflow.errors import SpecError
from tuneflow.pipeline.making import calling_frame
from tuneflow.pipeline.template import PARAMS


def current_folder() -> Path:
    """Return the folder of the file of the DAG that is being made, or else of who calls us."""
    dag = DagContext.get_current()
    return Path(dag.fileloc if dag is not None else _calling_file()).parent


def _calling_file() -> str:
    frame = calling_frame("airflow")
    return frame.f_code.co_filename if frame is not None else str(Path.cwd() / "dag.py")


def defaults_of(group: TaskGroup) -> dict[str, Any]:
    """Return what Airflow takes for the arguments of a group's tasks that are not given."""
    return {**group.dag.default_args, **group.default_args}


def add_params(names: Iterable[str] = PARAMS) -> None:
    """Add params of ours to the DAG, but for those that it has.

    Args:
        names: which. Default: those of a study.
    """
    dag = DagContext.get_current()
    if dag is None:
        return
    ours = _params()
    for name in names:
        if name not in dag.params:
            dag.params[name] = ours[name]


def check_schedule() -> None:
    """Raise SpecError when the time in a schedule of time and assets cannot be.

    Airflow looks at a schedule of time alone itself, and at this one only when it is due.
    """
    dag = DagContext.get_current()
    timetable = getattr(dag and dag.timetable, "timetable", None)
    if timetable is None:
        return
    try:
        timetable.validate()
    except AirflowException as error:
        given = getattr(timetable, "expression", timetable)
        raise SpecError("schedule", f"{given!r} is no time: {error}") from None


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
        "data_version": Param(
            None,
            type=["null", "string"],
            description="Which data it is, for the record of champions; empty: as in the DAG.",
        ),
    }
