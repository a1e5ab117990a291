"""What the driver tells a worker of the study that a segment belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """What is the same for all segments of a study.

    Attributes:
        storage: the study's URL.
        metric: the name of its metric.
        isolation: "thread" runs a Python objective in a thread of the worker; "process" gives
            each trial a process, which can be killed and whose crash harms nobody.
        timeout: the most seconds that the objective may take for a segment, or None.
        checkpoint_every: a checkpoint is saved at a report when so many have come since the last
            one was saved, this one counted, and where the segment ends; None for the latter alone.
        env: environment variables of the trials; with threads, of the worker's process.
        grace: seconds between asking an objective to end and ending it by force.
        warm: seconds that a paused trial is kept suspended for its next segment; 0 for none. It
            keeps its memory, also that of a GPU.
        resources: what one trial occupies: ``cpu``, ``gpu`` and ``memory``; an executor that
            has been given others ignores it.
        most_resources: the most that a scheduler may tell one trial to occupy; None where it
            leaves that to ``resources``.
        checkpoint_seconds: and at the first report when so many seconds are over since the last
            one was saved, or the segment began; or None.
        background: whether the trial goes on while its checkpoint is being stored. An executor
            that runs in step with the driver stores it first.
    """

    storage: str
    metric: str
    isolation: Literal["thread", "process"] = "thread"
    timeout: float | None = None
    checkpoint_every: int | None = 1
    env: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    warm: float = 30.0
    resources: Mapping[str, Any] = field(default_factory=dict)
    most_resources: Mapping[str, Any] | None = None
    checkpoint_seconds: float | None = None
    background: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that is sent to workers."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**plain, "env": dict(self.env), "resources": dict(self.resources)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """Read what `to_json` wrote."""
        return cls(**data)
