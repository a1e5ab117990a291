"""A study that the tasks of one flow run share in the flow's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuneflow.opened import OpenStudy
from tuneflow.pipeline.stage_result import StageResult


class HeldStudy:
    """Keeps a study open from task to task.

    It is passed to tasks as it is: Prefect looks into dataclasses and collections, and would go
    through the whole history. It is never sent to another process.

    Args:
        url: the study's URL.

    Attributes:
        url: as given.
        result: what the round that was closed last came to.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.result: StageResult | None = None
        self._opened: OpenStudy | None = None

    @contextmanager
    def using(self) -> Iterator[OpenStudy]:
        """Yield the study; it is read anew after an error, which may have left half a decision."""
        opened = self._opened or OpenStudy.open(self.url)
        self._opened = None
        yield opened
        self._opened = opened
