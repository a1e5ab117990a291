"""A study's history as a search library is told of it: events in their order.

A library without a notion of resource can compare results of one level only. Where the scheduler
has a maximum, the library is told of the highest level at which enough trials have a result, as
BOHB does (Falkner et al., ICML 2018), and of all of them again when that level rises. Without a
maximum it is told each trial's newest usable value when a segment of it has ended.

| trial | for the library |
| --- | --- |
| running for the first time, without a result at that level | pending |
| with a result at that level | known |
| that paused or ended below it | known, by an estimate |
| failed for good, or without any usable report | failed |

The estimate is the trial's newest value, changed by as much as the values of others changed from
that level to the one that is compared (the median). If such a trial were left out, a library that
always proposes what its model likes best would propose it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, Final, Literal, Protocol, TypeAlias

from tuneflow.errors import SearcherError
from tuneflow.events import Closed, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.libraries.base import Values
from tuneflow.rng import derive_seed
from tuneflow.searchers.axes import Axes
from tuneflow.trial import Params, Resource

_MOST_COMPARED: Final = 100
"""An estimate goes by so many trials at most, the newest."""

_LARGEST: Final = 1e100

Event: TypeAlias = "list[Any]"
"""A method of `tuneflow.libraries.base.Library` and its arguments; JSON."""


class Connection(Protocol):
    """A library, wherever it runs."""

    def ask(self, events: Sequence[Event], seed: int) -> Values:
        """Return a proposal.

        Args:
            events: all events of the study so far; those that the library has taken in before
                are not sent again.
            seed: what the proposal's randomness follows from; below 2**32.
        """


def ask_seed(history: History, number: int) -> int:
    """Return the seed with which a library is asked for the trial of this number."""
    return derive_seed(history.seed, "library", number) % 2**32


@dataclass(slots=True)
class _Seen:
    """What is known of one trial.

    Attributes:
        values: its configuration.
        state: what the library takes it for.
        loss: its newest usable value; infinity without one.
        level: where that was.
        is_stopping: whether it was told to stop.
        now: whether it runs, waits for a retry, or neither.
    """

    values: Values
    state: Literal["pending", "known", "failed"] = "pending"
    loss: float = math.inf
    level: Resource = 0
    is_stopping: bool = False
    now: Literal["runs", "waits", "rests"] = "runs"


class Conversation(Index):
    """The events of one study, and the library that they are told to.

    Args:
        axes: the space.
        history: tells metric, mode, seed and the maximum resource, and nothing else.
        connection: the library.
        given: how many trials came from the points to evaluate.
        known: results from elsewhere, which come before trial 0.
        owner: whose identity this index is known by; it is kept alive.
    """

    def __init__(
        self,
        axes: Axes,
        history: History,
        connection: Connection,
        *,
        owner: object,
        given: int = 0,
        known: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._owner = owner
        self._axes = axes
        self._history = history
        self._connection = connection
        self._given = given
        self._enough = max(len(axes.parameters) + 1, 8)
        self._events: list[Event] = []
        self._trials: list[_Seen] = []
        self._results: dict[Resource, dict[int, float]] = {}
        self._level: Resource | None = None
        for position, result in enumerate(known):
            self._add_known(-1 - position, result)

    def ask(self, number: int) -> Params:
        """Return what the library proposes for the trial of this number.

        Raises:
            SearcherError: the library failed, or proposes something that is no number.
        """
        values = self._connection.ask(self._events, ask_seed(self._history, number))
        try:
            return self._axes.decode(values)
        except (TypeError, ValueError) as error:
            raise SearcherError(f"a library proposes {dict(values)!r}: {error}") from error

    def launched(self, fact: Launched) -> None:
        """The trial runs, perhaps for the first time or with other parameters."""
        if fact.trial == len(self._trials):
            self._begin(fact)
            return
        seen = self._trials[fact.trial]
        seen.now = "runs"
        if fact.params is not None:
            self._forget(fact.trial)
            self._trials[fact.trial] = _Seen(self._axes.encode(fact.params))
            self._pend(fact.trial)
        elif seen.state == "failed":
            self._pend(fact.trial)

    def _begin(self, fact: Launched) -> None:
        is_own = fact.trial >= self._given and not fact.late
        self._trials.append(_Seen(self._axes.encode(fact.params or {})))
        self._pend(fact.trial, ask_seed(self._history, fact.trial) if is_own else None)

    def reported(self, fact: Reported) -> None:
        """Note the trial's value; tell it if its level is the one that is compared."""
        loss = self._history.loss(fact.report.metrics)
        if loss == math.inf:
            return
        seen = self._trials[fact.trial]
        seen.loss, seen.level = loss, fact.report.resource
        if self._history.max_resource is not None:
            self._place(fact.trial, fact.report.resource, loss)

    def stopped(self, fact: Stopped) -> None:
        """The trial is over as soon as it does not run."""
        seen = self._trials[fact.trial]
        seen.is_stopping = True
        if seen.now == "waits":
            self._settle(fact.trial, "stopped")

    def closed(self, fact: Closed) -> None:
        """Tell how the trial ended, or what it is likely to have come to."""
        seen = self._trials[fact.trial]
        if fact.retry and not seen.is_stopping:
            seen.now = "waits"
        elif fact.status in ("failed", "lost") and not seen.is_stopping:
            seen.now = "rests"
            self._forget(fact.trial)
            self._tell(fact.trial, None)
        else:
            self._settle(fact.trial, fact.status)

    def _settle(self, number: int, status: str) -> None:
        """Tell of a trial that does not run any more, and has not failed."""
        seen, limit = self._trials[number], self._history.max_resource
        seen.now = "rests"
        if seen.loss == math.inf:
            if status != "paused":
                self._tell(number, None)
            return
        if limit is None:
            self._tell(number, seen.loss)
        elif status == "completed":
            self._place(number, limit, seen.loss)
        if seen.state == "pending" and self._level is not None:
            self._tell(number, self._estimate(seen, self._level))

    def _place(self, number: int, level: Resource, loss: float) -> None:
        """Note a result at a level, which may become the one that is compared."""
        results = self._results.setdefault(level, {})
        results[number] = loss
        if level == self._level:
            self._tell(number, loss)
        elif len(results) >= self._enough and level > (self._level or 0):
            self._compare_at(level)

    def _compare_at(self, level: Resource) -> None:
        """Tell all results again, as they are at this level or would be."""
        self._level = level
        results = self._results[level]
        for number, seen in enumerate(self._trials):
            is_told = seen.state == "known"
            if number in results:
                self._tell(number, results[number])
            elif is_told or (seen.state, seen.now) == ("pending", "rests"):
                self._tell(number, self._estimate(seen, level))

    def _estimate(self, seen: _Seen, level: Resource) -> float:
        """Return what a trial would have had at a level if it had gone on as the others did."""
        then = self._results.get(seen.level, {})
        newest = islice(reversed(self._results[level].items()), _MOST_COMPARED)
        changes = [loss - then[number] for number, loss in newest if number in then]
        return seen.loss + (median(changes) if changes else 0.0)

    def _forget(self, number: int) -> None:
        """Forget what a trial reported."""
        for results in self._results.values():
            results.pop(number, None)

    def _tell(self, number: int, loss: float | None) -> None:
        self._trials[number].state = "failed" if loss is None else "known"
        self._events.append(["told", number, loss if loss is None else _computable(loss)])

    def _pend(self, number: int, seed: int | None = None) -> None:
        seen = self._trials[number]
        seen.state = "pending"
        self._events.append(["began", number, seen.values, seed])

    def _add_known(self, number: int, result: Mapping[str, Any]) -> None:
        loss = self._history.loss({self._history.metric: result["value"]})
        self._events.append(["began", number, self._axes.encode(result["params"]), None])
        self._events.append(["told", number, None if loss == math.inf else _computable(loss)])


def _computable(loss: float) -> float:
    """Return a loss whose square is finite: libraries compute variances."""
    return min(max(loss, -_LARGEST), _LARGEST)
