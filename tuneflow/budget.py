"""When a study ends before its trials do, and how many failures it bears."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from tuneflow.errors import SpecError
from tuneflow.history import History


@dataclass(frozen=True, slots=True)
class Plateau:
    """End the study when its best value has stopped moving.

    Args:
        segments: how many segments must close without a better value.
        min_trials: how many trials must have begun before this is looked at. Default 10.
    """

    segments: int
    min_trials: int = 10

    def __post_init__(self) -> None:
        for name in ("segments", "min_trials"):
            _require_count(f"budget.plateau.{name}", getattr(self, name), least=1)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits of a study; whichever is met first ends it.

    Args:
        wall_clock: seconds of driving the study, resumes included. When they are over, running
            trials are told to stop at their next report.
        trial_time: seconds that trials take, added up over all of them: what machines are paid
            for. When they are over, running trials are told to stop at their next report.
        total_resource: resource units over all trials. No segment is launched that could
            exceed it; one without an end is stopped when the sum is reached. A level that a
            trial repeats, because it had no checkpoint to go on from, counts once.
        target: end when any report reaches this value of the metric.
        plateau: end when the best value has stopped moving.
        max_failures_per_trial: how often a trial that fails by its own fault is tried again,
            from its newest checkpoint. Default 0.
        max_losses_per_trial: how often a trial whose worker went away is tried again without
            having come to a new level in between: what gets on was preempted, and is not what
            workers die of. Default 3.
        max_failures: halt the study when more trials than this have failed for good. None (the
            default) bears any number as long as some report is usable, and halts at 20 failed
            trials when none ever was. A halted study is resumable, and a resume tries them again.
        fail_fast: halt at the first failed trial; the same as ``max_failures=0``.
    """

    wall_clock: float | None = None
    trial_time: float | None = None
    total_resource: float | None = None
    target: float | None = None
    plateau: Plateau | None = None
    max_failures_per_trial: int = 0
    max_losses_per_trial: int = 3
    max_failures: int | None = None
    fail_fast: bool = False

    def __post_init__(self) -> None:
        for name in ("wall_clock", "trial_time", "total_resource"):
            value = getattr(self, name)
            if value is not None and not (_is_finite(value) and value > 0):
                raise SpecError(f"budget.{name}", f"{value!r} is not a positive number")
        if self.target is not None and not _is_finite(self.target):
            raise SpecError("budget.target", f"{self.target!r} is not a number to be reached")
        for name in ("max_failures_per_trial", "max_losses_per_trial", "max_failures"):
            if getattr(self, name) is not None:
                _require_count(f"budget.{name}", getattr(self, name), least=0)

    @property
    def ends(self) -> bool:
        """Whether some limit here is sure to end a study whose trials never end by themselves."""
        return self.is_timed or self.total_resource is not None

    @property
    def is_timed(self) -> bool:
        """Whether it matters how long trials take."""
        return self.wall_clock is not None or self.trial_time is not None

    def ending(self, history: History) -> str | None:
        """Return why the study is over, or None."""
        if self.wall_clock is not None and history.elapsed >= self.wall_clock:
            return f"the wall-clock budget of {self.wall_clock:g} s is used up"
        if self.trial_time is not None and history.trial_time >= self.trial_time:
            return f"the trial time of {self.trial_time:g} s is used up"
        if self.total_resource is not None and history.spent >= self.total_resource:
            return f"the total resource of {self.total_resource:g} is used up"
        target = self.target
        if target is not None and history.best_loss <= history.loss({history.metric: target}):
            return f"{history.metric} has reached the target {target:g}"
        if self.plateau is not None and self._is_flat(self.plateau, history):
            return f"{history.metric} has not improved in {self.plateau.segments} segments"
        return None

    def halting(self, history: History) -> str | None:
        """Return why the study must wait for its user, or None."""
        bearable = 0 if self.fail_fast else self.max_failures
        failed = history.failed_since_opened
        if bearable is None or failed <= bearable:
            return None
        return f"{failed} failed trial{'s' if failed > 1 else ''}, {bearable} allowed"

    def affords(self, history: History, cost: float) -> bool:
        """Whether ``cost`` units fit beside what is spent and what running trials may spend."""
        if self.total_resource is None:
            return True
        promised = sum(
            max(trial.until - trial.resource, 0)
            for trial in history.running.values()
            if trial.until is not None
        )
        return history.spent + promised + cost <= self.total_resource

    def to_json(self) -> dict[str, Any]:
        """Return the limits that differ from their defaults."""
        data = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                data[field.name] = value
        if self.plateau is not None:
            data["plateau"] = {
                "segments": self.plateau.segments,
                "min_trials": self.plateau.min_trials,
            }
        return data

    @staticmethod
    def _is_flat(plateau: Plateau, history: History) -> bool:
        if len(history.trials) < plateau.min_trials:
            return False
        return history.closings_since_best >= plateau.segments


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _require_count(field: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(field, f"{value!r} is not a whole number of {least} or more")
