"""The function that Prefect runs and makes a form of."""

# Without `from __future__ import annotations`: Prefect reads the annotations also where the
# function was unpickled, without the names of this module.

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from tuneflow.prefect.plan import FlowPlan
from tuneflow.prefect.study_run import run_study


def make_body(plan: FlowPlan) -> Callable[..., dict[str, Any]]:
    """Return the function of a flow; its parameters are what a user can set for a run."""
    template = plan.template

    def tune(
        *,
        trials: Annotated[int, Field(ge=1)] | None = template.spec.get("trials"),
        space: dict[str, Any] | None = None,
        budget: dict[str, Any] | None = None,
        existing: Literal["resume", "new"] = template.existing,
        retry_failed: bool = False,
        name: str = plan.name,
        storage: str = plan.storage,
    ) -> dict[str, Any]:
        """Tune, and return the best trial.

        Args:
            trials: How many trials; empty: as many as scheduler, searcher or budget say.
            space: Parameters to search otherwise: {"lr": {"type": "float", "low": 0, "high": 1}}.
            budget: Limits to set otherwise, such as {"total_resource": 500}.
            existing: Go on with the study of this name, or make a new one for this run.
            retry_failed: Try the failed trials of the study again.
            name: The study's name.
            storage: Where it is kept: a URL, or block:NAME.
        """
        return run_study(
            plan,
            {
                "trials": trials,
                "space": space,
                "budget": budget,
                "existing": existing,
                "retry_failed": retry_failed,
                "name": name,
                "storage": storage,
            },
        )

    return tune
