"""What all trials of a flow run share, as a text that travels with each of their tasks."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Literal, Self

from tuneflow.remote.code import Code
from tuneflow.remote.orders import SegmentOrder


@dataclass(frozen=True)
class TrialSettings:
    """How the trials of a flow run are run.

    As a text it is one leaf to Prefect, which looks into all that is passed to a task.

    Attributes:
        study: the study's URL.
        metric: the study's.
        storage: a URL or ``block:NAME``.
        code: the objective.
        isolation: "thread" or "process".
        timeout: the most seconds that a segment may take, or None.
        on_dask: whether trials run on Dask workers.
    """

    study: str
    metric: str
    storage: str
    code: Code
    isolation: Literal["thread", "process"]
    timeout: float | None
    on_dask: bool

    def order(self, trial: int, segment: int) -> SegmentOrder:
        """Return the order for a segment."""
        return SegmentOrder(
            self.study,
            trial,
            segment,
            self.code,
            isolation=self.isolation,
            timeout=self.timeout,
        )

    def to_text(self) -> str:
        """Return the text."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({**plain, "code": self.code.to_json()})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` wrote."""
        data = json.loads(text)
        return cls(**{**data, "code": Code.from_json(data["code"])})


@functools.lru_cache(maxsize=16)
def read_settings(text: str) -> TrialSettings:
    """Return settings that a process is likely to be asked for again."""
    return TrialSettings.from_text(text)
