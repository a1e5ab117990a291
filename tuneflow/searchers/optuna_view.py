"""A study's history as Optuna's samplers see it.

| trial | in Optuna |
| --- | --- |
| running for the first time, or waiting for a retry | RUNNING |
| paused, resumed or stopped, with a usable report | PRUNED, at the level of the newest one |
| completed | COMPLETE, with its newest usable value |
| failed, or without a usable report | FAIL |

A trial that is resumed stays what it was: to a sampler that lies about running trials they are bad
ones, and those that are promoted are the best. One without a usable report is RUNNING. Values have
the study's own unit and direction; NaN and infinity are no values. Of a trial's reports only the
newest usable one is kept: it is what samplers use, and a long curve would cost time in every ask.

Where the study has several metrics, their values are losses, all to be made small: NSGA-III rounds
differently where a metric is made large. A trial that is paused or stopped is COMPLETE: Optuna
knows no levels then, and could tell nothing about it. It may have become a parent in a genetic
sampler, so its values stay with it whatever becomes of it. Where the study has constraints, a trial
has a number for each, with the values that they belong to; a usable report that leaves one of them
open is like one without a value when the trial ends with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from tuneflow.events import Closed, Fact, Finished, Launched, Reported, Stopped
from tuneflow.history import History
from tuneflow.index import Index
from tuneflow.searchers.optuna_axes import Axes
from tuneflow.searchers.optuna_samplers import CONSTRAINTS
from tuneflow.searchers.optuna_storage import STUDY_NAME, DraftStorage
from tuneflow.trial import Params, Resource


class HistoryView(Index):
    """An index of a history: one Optuna trial for each of ours, each fact in constant time.

    Samplers that keep notes on trials (CMA-ES its generation, say) find them where they left
    them. The notes are never stored. A view that is made late asks the sampler again for each
    trial, in the recorded order and over what was known then, and so has the same notes.

    Args:
        axes: the space in Optuna's terms.
        history: tells metrics, modes, constraints and the maximum resource, and nothing else.
        sampler: makes the sampler for the trial of this number.
        keeps_notes: whether the sampler's notes matter to it later.
        given: how many trials came from the points to evaluate; no sampler was asked for them.
        known: results from elsewhere, which come before trial 0.
    """

    def __init__(
        self,
        axes: Axes,
        history: History,
        sampler: Callable[[int], BaseSampler],
        *,
        keeps_notes: bool = False,
        given: int = 0,
        known: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._axes = axes
        self._losses = history.losses
        self._names = [metric for metric, _ in history.objectives]
        self._constraints = history.constraints
        self._limit = math.inf if history.max_resource is None else history.max_resource
        self._sampler = sampler
        self._keeps_notes = keeps_notes
        self._given = given
        self._storage = DraftStorage(
            maximize=[self._is_single and mode == "max" for _, mode in history.objectives]
        )
        self._facts = 0
        self._asked_at: int | None = None
        self._resource: list[Resource] = []
        self._stopping: set[int] = set()
        self._waiting: dict[int, FrozenTrial] = {}
        self._found: dict[int, _Found] = {}
        for result in known:
            self._add_known(result)
        self._known = len(self._storage.trials)

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials of the study, by their numbers."""
        return self._storage.trials[self._known :]

    def ask(self) -> Params:
        """Return what the sampler proposes for the next trial; the history stays as it is."""
        study = optuna.load_study(
            study_name=STUDY_NAME,
            storage=self._storage,
            sampler=self._sampler(len(self._resource)),
            pruner=NopPruner(),
        )
        try:
            params = self._axes.suggest(study.ask())
        except BaseException:
            self._storage.forget()
            raise
        self._asked_at = self._facts
        return params

    def apply(self, fact: Fact) -> None:
        """Take in the next fact."""
        super().apply(fact)
        self._facts += 1

    def stopped(self, fact: Stopped) -> None:
        """The trial is over as soon as it does not run."""
        self._stopping.add(fact.trial)
        self._give_up(fact.trial)

    def finished(self, fact: Finished) -> None:
        """The trials that wait are over."""
        for number in list(self._waiting):
            self._give_up(number)

    def launched(self, fact: Launched) -> None:
        """The trial runs, perhaps for the first time."""
        if fact.trial == len(self._resource):
            self._begin(fact)
            return
        self._waiting.pop(fact.trial, None)
        trial = self._trial(fact.trial)
        if fact.params is not None:
            self._change(trial, fact.params)
        self._go_on(trial)
        if fact.source is not None:
            self._resource[fact.trial] = fact.start

    def _go_on(self, trial: FrozenTrial) -> None:
        """Note that a trial runs again."""
        trial.state = TrialState.RUNNING
        if not self._is_single:
            return
        trial.value = None
        if trial.number in self._found:
            self._end(trial, TrialState.PRUNED)
        if trial.state is TrialState.FAIL:
            trial.state = TrialState.RUNNING

    def _begin(self, fact: Launched) -> None:
        notes = self._notes(fact.trial)
        params = self._axes.params(fact.params or {})
        self._storage.add(params, self._axes.distributions(params), notes)
        self._resource.append(0)

    def _notes(self, number: int) -> dict[str, Any]:
        """Return what the sampler noted on a new trial when it was asked for it."""
        if not self._keeps_notes or number < self._given:
            self._storage.forget()
            return {}
        if self._asked_at != self._facts:
            self.ask()
        return self._storage.adopt()

    def _change(self, trial: FrozenTrial, params: Params) -> None:
        """Give a trial other parameters; what it reported with the old ones is not theirs."""
        trial.params = self._axes.params(params)
        trial.distributions = self._axes.distributions(trial.params)
        trial.intermediate_values = {}
        self._found.pop(trial.number, None)

    def reported(self, fact: Reported) -> None:
        """Note the trial's newest usable values."""
        metrics, trial = fact.report.metrics, self._trial(fact.trial)
        self._resource[fact.trial] = fact.report.resource
        losses = self._losses(metrics)
        if losses[0] == math.inf:
            return
        values = [metrics[self._names[0]]] if self._is_single else list(losses)
        margins = [constraint.margin(metrics) for constraint in self._constraints]
        self._found[trial.number] = _Found(values, margins)
        if self._is_single:
            # Optuna's annotation says int; it does no more than compare the levels.
            levels: dict[Any, float] = {fact.report.resource: values[0]}
            trial.intermediate_values = levels
            if trial.state is TrialState.PRUNED:
                self._end(trial, TrialState.PRUNED)

    def closed(self, fact: Closed) -> None:
        """The trial waits, or is over."""
        trial, is_told_to_stop = self._trial(fact.trial), fact.trial in self._stopping
        is_whole = fact.status == "paused" and self._resource[fact.trial] >= self._limit
        if fact.status == "completed" or is_whole:
            self._end(trial, TrialState.COMPLETE)
        elif is_told_to_stop or fact.status in ("paused", "stopped"):
            self._end(trial, TrialState.PRUNED)
        elif fact.retry:
            self._waiting[fact.trial] = trial
        else:
            self._end(trial, TrialState.FAIL)

    def _give_up(self, number: int) -> None:
        """End a trial that waits for a retry, which will not come."""
        trial = self._waiting.pop(number, None)
        if trial is not None:
            self._end(trial, TrialState.PRUNED)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.trials[self._known + number]

    def _add_known(self, result: Mapping[str, Any]) -> None:
        params = self._axes.params(result["params"])
        trial = self._storage.add(params, self._axes.distributions(params))
        if math.isfinite(result["value"]):
            trial.intermediate_values = {0: float(result["value"])}
            self._found[trial.number] = _Found([float(result["value"])], [])
        self._end(trial, TrialState.COMPLETE)

    def _end(self, trial: FrozenTrial, state: TrialState) -> None:
        """End a trial with its newest usable values; it has failed when there are none."""
        found = self._found.get(trial.number)
        if found is None or state is TrialState.FAIL or not all(map(math.isfinite, found.margins)):
            trial.state = TrialState.FAIL
            if self._is_single:
                trial.value = None
            return
        trial.state = state if self._is_single else TrialState.COMPLETE
        trial.values = found.values
        if found.margins:
            trial.system_attrs[CONSTRAINTS] = found.margins

    @property
    def _is_single(self) -> bool:
        return len(self._names) == 1


class _Found(NamedTuple):
    """What a trial's newest usable report says: the metrics, and a margin for each bound."""

    values: list[float]
    margins: list[float]
