"""From the arguments of an operator or a task group to a `StudyTemplate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tuneflow.airflow.template import Existing, StudyTemplate
from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.executors.base import check_isolation
from tuneflow.remote.code import Train, reference_of
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.trial import Mode


def make_template(
    train: Train,
    base: Path,
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] | None = None,
    max_concurrent: int | None = None,
    conn_id: str = "dask_default",
    existing: Existing = "resume",
    isolation: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
) -> StudyTemplate:
    """Return a study as a DAG has it, once it is clear that it can be one.

    The arguments are those of `tuneflow.tune` and of `StudyTemplate`. Raises SpecError when one
    of them cannot work: the DAG has an import error then.
    """
    check_isolation(isolation, timeout)
    spec = {
        "objective": reference_of(train),
        "space": Space(space).to_json(),
        "metric": metric,
        "mode": mode,
        "searcher": _plugin("searcher", searcher),
        "scheduler": _plugin("scheduler", scheduler),
        "trials": trials,
        "seed": seed,
        "round_size": round_size,
        "max_concurrent": max_concurrent,
        "budget": budget.to_json() if isinstance(budget, Budget) else budget,
        "resources": resources,
    }
    template = StudyTemplate(spec, train, base, conn_id, existing, isolation, timeout)
    template.check()
    template.name("study", "run", {})
    return template


def _plugin(kind: str, given: Any) -> Any:
    """Return a searcher or scheduler as a study file has it."""
    if isinstance(given, Searcher | Scheduler):
        return given.to_json()
    if given is None or isinstance(given, str | Mapping):
        return given
    raise SpecError(kind, f"{given!r} is no {kind}", "give an instance, a type name or a mapping")
