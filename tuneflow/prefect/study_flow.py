"""Prefect's flow, with what can be wrong said in one sentence before anything runs."""

from __future__ import annotations

from typing import Any, Self

from tuneflow.prefect.plan import RunPlan
from tuneflow.prefect.runner import check_runner
from tuneflow.prefect.server import check_server
from tuneflow.prefect.serving import ScheduledFlow


class StudyFlow(ScheduledFlow):
    """A flow that tunes.

    Attributes:
        plan: what it tunes.
    """

    plan: RunPlan

    @classmethod
    def of(cls, flow: Any, plan: RunPlan) -> Self:
        """Return a flow of this kind that is otherwise like another one."""
        made = cls.__new__(cls)
        made.__dict__.update(flow.__dict__)
        made.plan = plan
        return made

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow; see Prefect.

        Raises:
            ClusterError: Prefect's server does not answer.
            SpecError: the task runner cannot work with the server that there is.
        """
        check_runner(self.task_runner)
        check_server()
        return super().__call__(*args, **kwargs)

    def with_options(self, **options: Any) -> Self:
        """Return the flow with other options; see Prefect."""
        return type(self).of(super().with_options(**options), self.plan)
