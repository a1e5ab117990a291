"""From the arguments of `retune_flow` to a flow, once it is clear that it can work."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tuneflow.prefect.making import Origin, check_options, flow_of, flow_plan, named, runner_for
from tuneflow.prefect.retune_body import make_body
from tuneflow.prefect.retune_plan import RetunePlan
from tuneflow.prefect.study_flow import StudyFlow
from tuneflow.remote.code import Train


def make_retune_flow(
    train: Train,
    origin: Origin,
    *,
    options: Mapping[str, Any],
    task_runner: Any,
    flow_options: Mapping[str, Any],
    **search: Any,
) -> StudyFlow:
    """Return the flow of a retune; see `tuneflow.prefect.retune_flow`.

    Args:
        train: the objective.
        origin: where the flow is made.
        options: the fields of `tuneflow.retune.plan.Plan`, but for ``study``.
        task_runner: see `tuneflow.prefect.retune_flow`.
        flow_options: likewise.
        search: see `tuneflow.prefect.making.flow_plan`.

    Raises:
        SpecError: an argument cannot work.
        MissingDependencyError: a package is needed and not installed.
    """
    from tuneflow.prefect.retuning import retune_flow

    check_options(flow_options, retune_flow)
    plan = RetunePlan.of(flow_plan(train, origin, existing="resume", **search), options)
    name = plan.search.name
    said = inspect.getdoc(train) if callable(train) else f"Retunes {name}."
    return flow_of(
        named(make_body(plan), train, origin, f"retune_{name}"),
        plan,
        name=f"retune-{name}",
        origin=origin,
        runner=runner_for(plan.search, task_runner),
        options={"description": said, **flow_options},
    )
