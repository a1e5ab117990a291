"""What a scheduler is, and the decisions it can make.

A scheduler answers one question: given what has happened, what is the next thing to do? It is
asked again after each of its answers has been added to the history. There is nothing else to
implement, and so there is one code path for everything:

* a scheduler with **no** more to do at the moment returns None. A barrier is no more than that;
* a pipeline round asks until None; a streaming driver asks until its slots are full;
* stopping a running trial, promoting a paused one and cloning a better one are all answers.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, TypeAlias

from tuneflow.errors import SpecError
from tuneflow.history import History
from tuneflow.space import Space
from tuneflow.trial import Params, Resource, TrialState


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a new trial, and pause it at ``until``.

    Attributes:
        until: the level; None leaves the end to the objective.
        bracket: the bracket that the trial belongs to from now on.
        params: its configuration. None (the default): what the searcher proposes.
        resources: what it occupies until then, such as ``{"gpu": 2}``. None (the default): what
            the study says.
    """

    until: Resource | None
    bracket: int = 0
    params: Params | None = None
    resources: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with a paused trial (promote it), and pause it again at ``until``.

    Attributes:
        trial: the trial's number.
        until: the level; None leaves the end to the objective.
        params: the configuration from now on; the trial starts anew from its newest checkpoint.
            None (the default): the one it has.
        resources: what it occupies until then; see `Start`.
    """

    trial: int
    until: Resource | None
    params: Params | None = None
    resources: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Clone:
    """Go on with a paused trial from another one's newest checkpoint and explored parameters.

    Attributes:
        source: the donor's number.
        trial: the trial's number.
        until: the level at which it is paused again; None leaves the end to the objective.
        resources: what it occupies until then; see `Start`.
    """

    source: int
    trial: int
    until: Resource | None
    resources: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """End a trial: a paused one at once, a running one at its next report."""

    trial: int
    reason: str


Decision: TypeAlias = Start | Resume | Clone | Stop


@dataclass(frozen=True)
class Scheduler(ABC):
    """Allocates resource among trials. A frozen value without state of its own.

    The laws, which `tuneflow.testing.SchedulerSuite` checks for any scheduler:

    * `next` is a function of the facts in the history and of nothing else;
    * it never launches a trial that is running or final, nor one that waits for a retry;
    * it never asks for a trial and level twice; retries are not its business;
    * it returns no `Start` once ``history.exhausted`` is set, and no `Stop` for a trial twice;
    * a failed, lost or NaN result ranks last and never stalls the others;
    * nor does a trial that a stopper ends, which goes on no more;
    * once every trial is resolved it returns None for good.
    """

    type: ClassVar[str]
    """The name that study files use."""

    resuming: ClassVar[str] = "resumed"
    """What people call it when a trial goes on: those that climb rungs are promoted."""

    @abstractmethod
    def next(self, history: History) -> Decision | None:
        """Return the next decision, or None when there is nothing to do until more is known."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it goes by beside the study's own; a trial without one has failed."""
        return ()

    @property
    def limit(self) -> Resource | None:
        """The level at which a trial is complete; None leaves the end to the objective."""
        return None

    @property
    def default_trials(self) -> int | None:
        """How many trials a study has that does not say; None when it must say."""
        return None

    @property
    def pauses(self) -> bool:
        """Whether it pauses trials to decide about them. One that does not goes on with any."""
        return True

    def remaining(self, history: History) -> int:
        """Return how many trials may still be given resource, at most; the running ones count.

        Default: all that are not final.
        """
        return history.counts[TrialState.RUNNING] + history.counts[TrialState.PAUSED]

    @property
    def most_resources(self) -> Mapping[str, Any] | None:
        """The most that one trial may be told to occupy; None is what the study says."""
        return None

    def horizon(self, resource: Resource, until: Resource | None) -> Resource | None:
        """Return where a segment must pause when nobody can stop it on the way.

        In rounds a running trial cannot be told anything, so a scheduler that stops running
        trials names the next level after ``resource`` at which it would look at one.
        """
        return until

    def check(self, space: Space) -> None:  # noqa: B027 - most schedulers work on any space
        """Raise SpecError when this scheduler cannot work on the space."""

    def prepare(self) -> None:  # noqa: B027 - most schedulers need nothing
        """Import what deciding needs. Raises MissingDependencyError before any trial runs."""

    def explore(
        self, params: Params, space: Space, rng: random.Random, history: History, clone: Clone
    ) -> Params:
        """Return the parameters that a clone goes on with. Default: the donor's.

        Args:
            params: the donor's.
            space: the study's.
            rng: made for this one clone.
            history: everything up to here; the clones that were decided before stand in it.
            clone: the decision.
        """
        return params

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: the type, and every field that is set."""
        return to_json(self)


def to_json(value: Any) -> dict[str, Any]:
    """Return a plugin's JSON form: its ``type``, and each field that differs from its default."""
    data: dict[str, Any] = {"type": value.type}
    for field in fields(value):
        set_to = getattr(value, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if set_to != default:
            data[field.name] = _plain(set_to)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.to_json() if hasattr(value, "to_json") else value


def require(condition: bool, field: str, problem: str, fix: str = "") -> None:
    """Raise a SpecError for a scheduler's field unless the condition holds."""
    if not condition:
        raise SpecError(f"scheduler.{field}", problem, fix)


def require_count(field: str, value: Any, most: float = math.inf) -> None:
    """Raise a SpecError for a scheduler's field unless it is a whole number from 1 to ``most``."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    limits = "of 1 or more" if most == math.inf else f"from 1 to {most}"
    is_right = is_whole and 1 <= value <= most
    require(is_right, field, f"{value!r} is not a whole number {limits}")


def require_number(field: str, value: Any, above: float, fix: str = "") -> None:
    """Raise a SpecError for a scheduler's field unless it is a finite number above ``above``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_right = is_number and math.isfinite(value) and value > above
    require(is_right, field, f"{value!r} is not a number above {above:g}", fix)
