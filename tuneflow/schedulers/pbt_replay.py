"""Replay of the schedule that population based training has found.

Jaderberg et al.: Population Based Training of Neural Networks, 2017, find a schedule of
hyperparameters rather than one configuration; this trains anew with such a schedule.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.schedulers.base import (
    Decision,
    Resume,
    Scheduler,
    Start,
    Stop,
    require,
    require_number,
)
from tuneflow.schedulers.paused import Paused
from tuneflow.space import Space
from tuneflow.trial import Resource, Trial


@dataclass(frozen=True)
class PBTReplay(Scheduler):
    """Train with a schedule of configurations; `tuneflow.pbt_schedule` reads one from a study.

    The trial pauses where the configuration changes, and goes on from its checkpoint of that
    level with the next one. Without a checkpoint there it is stopped, for it would have to begin
    anew. The searcher is not asked. A study has one trial unless it says otherwise; all of them
    go through the same schedule.

    Args:
        schedule: the steps, each ``{"until": level, "params": configuration}``, with rising
            levels. The last level completes a trial.
    """

    type: ClassVar[str] = "pbt_replay"

    schedule: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        require(bool(self.schedule), "schedule", "it has no step", "see tuneflow.pbt_schedule")
        level: Resource = 0
        steps: tuple[Any, ...] = self.schedule
        for position, step in enumerate(steps):
            field = f"schedule[{position}]"
            is_step = isinstance(step, Mapping) and set(step) == {"until", "params"}
            require(is_step, field, f"{step!r} is not {{'until': …, 'params': …}}")
            above = "levels must rise" if position else ""
            require_number(f"{field}.until", step["until"], level, above)
            level = step["until"]

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete."""
        return self._levels[-1]

    @property
    def default_trials(self) -> int | None:
        """One."""
        return 1

    def check(self, space: Space) -> None:
        """Raise SpecError for a configuration that lies outside the space."""
        for position, step in enumerate(self.schedule):
            outside = space.explain(step["params"])
            if outside is not None:
                raise SpecError(f"scheduler.schedule[{position}].params", outside)

    def next(self, history: History) -> Decision | None:
        """Go on with the next step of a paused trial, else start one."""
        limit = self.limit
        paused = history.index((PBTReplay, limit), lambda: Paused(limit)).trials
        if paused:
            return self._go_on(history.trials[next(iter(paused))])
        if history.exhausted:
            return None
        return Start(self._levels[0], params=dict(self.schedule[0]["params"]))

    @property
    def _levels(self) -> list[Resource]:
        return [step["until"] for step in self.schedule]

    def _go_on(self, trial: Trial) -> Decision:
        level = trial.resource
        step = self.schedule[bisect.bisect_right(self._levels, level)]
        if trial.params == step["params"]:
            return Resume(trial.number, step["until"])
        if trial.checkpoint is None or trial.checkpoint_resource != level:
            return Stop(trial.number, f"it has no checkpoint of level {level} to go on from")
        return Resume(trial.number, step["until"], params=dict(step["params"]))
