"""The function that Prefect runs for a retune and makes a form of."""

# Without `from __future__ import annotations`: see body.py.

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from tuneflow.prefect.retune_plan import RetunePlan
from tuneflow.prefect.retune_run import run_retune


def make_body(plan: RetunePlan) -> Callable[..., dict[str, Any]]:
    """Return the function of a flow; its parameters are what a user can set for a run."""

    def retune(
        *,
        data_version: str | None = None,
        trials: Annotated[int, Field(ge=1)] | None = plan.search.template.spec.get("trials"),
        space: dict[str, Any] | None = None,
        budget: dict[str, Any] | None = None,
        trigger: str | None = None,
        run: str | None = None,
    ) -> dict[str, Any]:
        """Look for a better configuration, and promote it if it is one.

        Args:
            data_version: Which data it is about; empty: today, in UTC.
            trials: How many trials the search has; empty: as many as scheduler, searcher or budget
                say.
            space: Parameters to search otherwise, such as {"lr": {"type": "float", "low": 0.001,
                "high": 0.1}}; empty: as in the flow.
            budget: Limits of the search to set otherwise, such as {"total_resource": 500}; empty:
                as in the flow.
            trigger: What set it off, for the record; empty: what Prefect says.
            run: Runs with the same text here are one retune, which the later one goes on with;
                empty: each flow run is a retune of its own.
        """
        return run_retune(
            plan,
            {
                "data_version": data_version,
                "trials": trials,
                "space": space,
                "budget": budget,
                "trigger": trigger,
                "run": run,
            },
        )

    return retune
