"""How a member of a population came to be: the configurations that made it, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneflow.errors import SpecError
from tuneflow.events import Launched, Reported
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.trial import Params, Resource


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of training with one configuration.

    Attributes:
        until: the level at which it ended.
        params: the configuration.
        trial: the number of the trial that was trained so.
    """

    until: Resource
    params: Params
    trial: int


def lineage(history: History, trial: int | None = None) -> list[Step]:
    """Return what a trial went through, from level 0 on: its own steps and those it copied.

    Where it copied a donor, the donor's steps count up to the checkpoint that was copied; and so
    on, through any number of clones. Levels rise, and no two steps in a row have the same
    configuration.

    Args:
        history: the study's.
        trial: the trial's number. Default: the best one.

    Raises:
        SpecError: there is no such trial, or it has reported nothing.
    """
    number = _best(history) if trial is None else trial
    if not 0 <= number < len(history.trials):
        there = f"it has 0 to {len(history.trials) - 1}" if history.trials else "it has none yet"
        raise SpecError("trial", f"the study has no trial {number}", there)
    steps = history.index("lineage", _Lineages).steps[number]
    if not steps:
        raise SpecError("trial", f"trial {number} has reported nothing")
    return _merged(steps)


def schedule_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return a lineage as the ``schedule`` of a `tuneflow.schedulers.PBTReplay`."""
    return [{"until": step.until, "params": step.params} for step in steps]


def _best(history: History) -> int:
    best = history.best()
    if best is None:
        raise SpecError("trial", "no trial of the study has a usable value", "name one")
    return best.number


def _merged(steps: Sequence[Step]) -> list[Step]:
    merged: list[Step] = []
    for step in steps:
        if merged and merged[-1].params == step.params:
            merged.pop()
        merged.append(step)
    return merged


class _Lineages(Index):
    """The steps of each trial up to now."""

    def __init__(self) -> None:
        self.steps: list[list[Step]] = []
        self._params: list[Params] = []

    def launched(self, fact: Launched) -> None:
        """A trial that begins, copies or changes its configuration makes another step."""
        if fact.params is None:
            return
        if fact.trial == len(self.steps):
            self.steps.append([])
            self._params.append(fact.params)
            return
        donor = fact.trial if fact.source is None else fact.source
        self.steps[fact.trial] = _up_to(fact.start, self.steps[donor])
        self._params[fact.trial] = fact.params

    def reported(self, fact: Reported) -> None:
        """The step goes on."""
        steps, params = self.steps[fact.trial], self._params[fact.trial]
        step = Step(fact.report.resource, params, fact.trial)
        if steps and steps[-1].params is params and steps[-1].trial == fact.trial:
            steps.pop()
        steps.append(step)


def _up_to(level: Resource, steps: Sequence[Step]) -> list[Step]:
    """Return the steps below a level; the last of them ends there."""
    below: list[Step] = []
    for step in steps:
        if below and below[-1].until >= level:
            break
        below.append(replace(step, until=min(step.until, level)))
    return below if level > 0 else []
