"""What `tune_task_group` returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk.definitions.xcom_arg import PlainXComArg


class BestOutput(PlainXComArg):
    """What the last task of a study returns, standing for the whole group.

    As an argument of a task, and before one (``result >> deploy``), it is the last task. What is
    put before it (``extract >> result``) comes before the first one: nothing else is meant.

    Args:
        best: the last task.
        first: the first task.
    """

    def __init__(self, best: Any, first: Any) -> None:
        super().__init__(operator=best)
        self._first = first

    @property
    def roots(self) -> list[Any]:
        """The tasks that begin, for ``extract >> result``."""
        return [self._first]

    def set_upstream(
        self, task_or_task_list: Any | Sequence[Any], edge_modifier: Any | None = None
    ) -> None:
        """Put tasks before the first one, for ``result << extract``."""
        self._first.set_upstream(task_or_task_list, edge_modifier)
