"""What an adapter of a search library is.

A library sees parameters of three kinds, results as numbers to be made small, and events in their
order. It is asked for one proposal at a time.

There are two kinds of libraries. A `Model` is fitted anew to what is known whenever it is asked;
most are. A `Stateful` one carries a state from ask to ask, which only the library itself can
advance. For both, asking leaves no trace: only a trial that has begun does.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Values: TypeAlias = "dict[str, float | int]"
"""The values of the parameters that exist, by path; of a choice, the position."""


@dataclass(frozen=True)
class Parameter:
    """One dimension of the search.

    Attributes:
        path: its name, unique in the space.
        kind: "float" and "int" lie between ``low`` and ``high``, both included; a "choice" is
            one of the positions 0 to ``size - 1``, which have no order.
        low: the smallest number.
        high: the largest number; above ``low``.
        log: whether its logarithm is what is uniform; ``low`` is above 0 then.
        size: how many positions a choice has; 2 or more.
        parent: the path of the choice that this parameter depends on; empty for none.
        option: the position of ``parent`` at which this parameter exists.
        snaps: whether the value that a trial has is only the nearest possible one to what was
            proposed.
    """

    path: str
    kind: Literal["float", "int", "choice"]
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    size: int = 0
    parent: str = ""
    option: int = -1
    snaps: bool = False


@dataclass(slots=True)
class Trial:
    """What a library is told of one trial.

    Attributes:
        values: its configuration.
        state: "pending" runs and has no result yet, "known" has one, "failed" never will.
        loss: the result to be made small, when it is known.
    """

    values: Values
    state: Literal["pending", "known", "failed"] = "pending"
    loss: float | None = None


class Library(ABC):
    """One library over one space.

    Args:
        parameters: the space, parents before those that depend on them. Never empty, and each
            parameter has more than one value.
        options: the settings of the searcher, by field.
        seed: below 2**32; follows from the study's.
    """

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        self.parameters = list(parameters)
        self.options = dict(options)
        self.seed = seed

    @abstractmethod
    def began(self, trial: int, values: Values, seed: int | None) -> None:
        """Take in that a trial runs, or has other values from now on.

        Args:
            trial: its number; below 0 for results from elsewhere.
            values: its configuration.
            seed: what `ask` was given when it proposed these values; None when they come from
                elsewhere.
        """

    @abstractmethod
    def told(self, trial: int, loss: float | None) -> None:
        """Take in a trial's result; None when it failed. The newest one counts."""

    @abstractmethod
    def ask(self, seed: int) -> Values:
        """Return a proposal that follows from the seed and what was taken in; leave no trace."""


class Model(Library):
    """A library that is fitted anew to all trials whenever it is asked."""

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        self.trials: dict[int, Trial] = {}

    def began(self, trial: int, values: Values, seed: int | None) -> None:
        """Note that a trial runs."""
        self.trials[trial] = Trial(values)

    def told(self, trial: int, loss: float | None) -> None:
        """Note a trial's result."""
        found = self.trials[trial]
        found.state = "failed" if loss is None else "known"
        found.loss = loss

    def known(self) -> list[Trial]:
        """Return the trials that have a result, in the order of their beginning."""
        return [trial for trial in self.trials.values() if trial.state == "known"]

    def pending(self) -> list[Trial]:
        """Return the trials that run and have no result yet."""
        return [trial for trial in self.trials.values() if trial.state == "pending"]

    def failed(self) -> list[Trial]:
        """Return the trials that failed."""
        return [trial for trial in self.trials.values() if trial.state == "failed"]

    def losses(self, lie: Callable[[list[float]], float]) -> list[float]:
        """Return a loss for each trial, also for those that have none.

        A failed trial is as bad as the worst, so that a model keeps away from where it was. A
        pending one has a constant lie (Ginsbourger et al., "Kriging is well-suited to parallelize
        optimization", 2010), so that nobody is sent there again. Both are 0 before any result.

        Args:
            lie: makes the lie of the losses that are known, such as ``min``.
        """
        known = [trial.loss for trial in self.known() if trial.loss is not None] or [0.0]
        stand_ins = {"failed": max(known), "pending": lie(known)}
        found = self.trials.values()
        return [stand_ins.get(t.state, 0.0) if t.loss is None else t.loss for t in found]


@dataclass(slots=True)
class _Draft:
    seed: int
    token: Any
    values: Values


@dataclass(slots=True)
class _Place:
    """A trial's place in an optimizer.

    Attributes:
        values: its configuration.
        token: what the optimizer knows it by.
        is_open: whether the optimizer waits for its result.
    """

    values: Values
    token: Any
    is_open: bool = True


class Stateful(Library):
    """A library whose optimizer is advanced by asking and telling, in their order.

    A subclass makes the optimizer in `make`, and says how it is asked and told. The optimizer is
    told one result of each trial, the first. A proposal that does not become a trial is taken
    back: the optimizer is made anew and led through all that has been. That is slow, and rare.
    """

    def __init__(
        self, parameters: Sequence[Parameter], options: Mapping[str, Any], seed: int
    ) -> None:
        super().__init__(parameters, options, seed)
        self._snapping = {parameter.path for parameter in parameters if parameter.snaps}
        self._log: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._places: dict[int, _Place] = {}
        self._draft: _Draft | None = None
        self.optimizer = self.make()

    @abstractmethod
    def make(self) -> Any:
        """Return a new optimizer, seeded by ``self.seed``; forget what else there is of it."""

    @abstractmethod
    def propose(self, optimizer: Any, seed: int) -> tuple[Any, Values]:
        """Ask the optimizer; return a token for the proposal, and its values."""

    @abstractmethod
    def adopt(self, optimizer: Any, values: Values) -> Any:
        """Return a token for values that the optimizer has not proposed."""

    @abstractmethod
    def learn(self, optimizer: Any, token: Any, loss: float | None) -> None:
        """Tell the optimizer the result of a proposal; None when it failed."""

    def ask(self, seed: int) -> Values:
        """Return what the optimizer proposes."""
        return dict(self._drafted(seed).values)

    def began(self, trial: int, values: Values, seed: int | None) -> None:
        """Advance the optimizer by the proposal that became this trial."""
        place = self._places.get(trial)
        if place is not None and place.is_open and place.values == values:
            return
        token = self._adopted(values) if seed is None else self._proposed(values, seed)
        self._places[trial] = _Place(values, token)
        self._log.append((self.began, (trial, values, seed)))

    def told(self, trial: int, loss: float | None) -> None:
        """Tell the optimizer a trial's first result; later ones do not fit its state."""
        if not self._places[trial].is_open:
            return
        self._take_back()
        place = self._places[trial]
        place.is_open = False
        self.learn(self.optimizer, place.token, loss)
        self._log.append((self.told, (trial, loss)))

    def _drafted(self, seed: int) -> _Draft:
        draft = self._draft
        if draft is None or draft.seed != seed:
            self._take_back()
            self._draft = draft = _Draft(seed, *self.propose(self.optimizer, seed))
        return draft

    def _adopted(self, values: Values) -> Any:
        self._take_back()
        return self.adopt(self.optimizer, values)

    def _proposed(self, values: Values, seed: int) -> Any:
        draft, self._draft = self._drafted(seed), None
        is_own = self._is_same(values, draft.values)
        return draft.token if is_own else self.adopt(self.optimizer, values)

    def _is_same(self, values: Values, proposed: Values) -> bool:
        """Whether a trial has the values of a proposal, but for rounding."""
        return all(
            path in self._snapping
            or math.isclose(value, proposed.get(path, math.nan), rel_tol=1e-9, abs_tol=1e-12)
            for path, value in values.items()
        )

    def _take_back(self) -> None:
        """Bring the optimizer to where it was before a proposal that was not used."""
        if self._draft is None:
            return
        log, self._log = self._log, []
        self._places, self._draft = {}, None
        self.optimizer = self.make()
        for step, arguments in log:
            step(*arguments)


def to_unit(own: Parameter, value: float) -> float:
    """Return where in [0, 1] a number of a parameter lies; each integer has a share of it."""
    low, high = _edges(own)
    if own.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def from_unit(own: Parameter, unit: float) -> float | int:
    """Return the number of a parameter at a place in [0, 1]."""
    low, high = _edges(own)
    found = low * (high / low) ** unit if own.log else low + unit * (high - low)
    found = min(max(found, own.low), own.high)
    return found if own.kind == "float" else math.floor(found + 0.5)


def _edges(own: Parameter) -> tuple[float, float]:
    margin = 0.5 if own.kind == "int" else 0.0
    return own.low - margin, own.high + margin


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the warnings of a library, which are about its own workings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator meanwhile, for libraries that draw from it."""
    import numpy

    before = numpy.random.get_state()
    numpy.random.seed(seed)
    try:
        yield
    finally:
        numpy.random.set_state(before)
