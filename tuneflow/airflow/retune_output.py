"""What `retune_task_group` returns."""

from __future__ import annotations

from typing import Any

from airflow.sdk.definitions.xcom_arg import PlainXComArg

from tuneflow.airflow.best_output import BestOutput


class RetuneOutput(BestOutput):
    """The verdict, standing for the whole group; see `BestOutput`.

    Args:
        first: the first task.
        judge: the task that returns the verdict.
        announce: the task that is skipped where the champion stays.

    Attributes:
        promoted: the verdict where there is a new champion; what takes it, or comes after it, is
            skipped where there is none.
    """

    def __init__(self, first: Any, judge: Any, announce: Any) -> None:
        super().__init__(judge, first)
        self.promoted = PlainXComArg(operator=announce)
