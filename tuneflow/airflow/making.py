"""From the arguments of an operator or a task group to a `DagStudy`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from airflow.sdk import BaseOperator

from tuneflow.airflow.template import DagStudy
from tuneflow.errors import SpecError, did_you_mean
from tuneflow.pipeline.making import checked, study_spec
from tuneflow.pipeline.template import Existing
from tuneflow.remote.code import Train
from tuneflow.store_urls import check_name, normalise


def make_template(
    train: Train,
    base: Path,
    *,
    conn_id: str = "dask_default",
    storage_conn_id: str | None = None,
    existing: Existing = "resume",
    isolation: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
    **study: Any,
) -> DagStudy:
    """Return a study as a DAG has it, once it is clear that it can be one.

    Args:
        train: the objective.
        base: the folder that its file is looked for in.
        conn_id: see `DagStudy`.
        storage_conn_id: see `DagStudy`.
        existing: see `DagStudy`.
        isolation: see `DagStudy`.
        timeout: see `DagStudy`.
        study: arguments of `tuneflow.tune`, from ``space`` to ``resources``.

    Raises:
        SpecError: one of them cannot work: the DAG has an import error then.
    """
    spec = study_spec(train, isolation=isolation, timeout=timeout, **study)
    template = DagStudy(spec, train, base, existing, isolation, timeout, conn_id, storage_conn_id)
    checked(template)
    return template


def check_place(name: Any, storage: Any) -> None:
    """Raise SpecError for a name or a storage that cannot work.

    Templates, and what other tasks return, are known in a run only.
    """
    if _is_known(name):
        check_name(name)
    if _is_known(storage):
        normalise(storage)


def _is_known(text: Any) -> bool:
    return isinstance(text, str) and "{{" not in text and "{%" not in text


def check_task_args(given: Mapping[str, Any], caller: Callable[..., Any], field: str = "") -> None:
    """Raise SpecError for what no operator takes, such as a misspelt argument.

    Args:
        given: operator arguments.
        caller: the function that was called with them, whose own arguments a user may have meant.
        field: where they stand, when not beside those.
    """
    known = set(inspect.signature(BaseOperator.__init__).parameters) - _OURS
    near = known if field else known | set(inspect.signature(caller).parameters)
    for name in given:
        if name not in known:
            where = f"{field}.{name}" if field else name
            raise SpecError(where, "no operator takes this argument", did_you_mean(name, near))


_OURS = {"self", "kwargs", "task_id", "task_group", "dag", "outlets", "multiple_outputs"}
"""What a user cannot say of our tasks."""
