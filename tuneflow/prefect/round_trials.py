"""The trials of a round as mapped tasks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias, cast

from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from tuneflow.executors.placement import Request
from tuneflow.history import History
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.progress import line
from tuneflow.prefect.ending import end_here, end_on_dask
from tuneflow.prefect.failures import TrialFailedError
from tuneflow.prefect.fan_out import FanOut, Item
from tuneflow.prefect.runner import demands_on
from tuneflow.prefect.settings import TrialSettings
from tuneflow.prefect.signals import signals_later
from tuneflow.recording import record_outcome
from tuneflow.remote.orders import Answer
from tuneflow.remote.task_errors import explained
from tuneflow.study import Study
from tuneflow.trial import Failure, Outcome, Report, Status
from tuneflow.views.progress import share_done

Show: TypeAlias = Callable[[int, int | None, str], None]
"""Told how many segments are through, how many there may be, and the same as a line."""

_PAUSE = 2.0
"""Seconds between two looks at how far a round is."""


class RoundTrials:
    """Runs the trials of one round after another.

    Args:
        task: the task of a trial.
        settings: what all trials share.
        runner: the flow's task runner.
        demands: Dask resources that each trial asks for.
        limit: how many may run at once, or None.
    """

    def __init__(
        self,
        task: Any,
        settings: TrialSettings,
        runner: Any,
        demands: Mapping[str, float],
        limit: int | None,
    ) -> None:
        self._task = task
        self._settings = settings
        self._text = settings.to_text()
        self._runner = runner
        self._demands = dict(demands)
        self._limit = limit

    def run(self, opened: OpenStudy, items: Iterable[Item], show: Show | None = None) -> None:
        """Run trials until all have ended, however they do.

        When the flow run is to end, they are told to end as well: at their next report, without an
        outcome.

        Args:
            opened: the study.
            items: the trials of its open round that have no outcome.
            show: told how far it is, from time to time.
        """
        preview = _Preview(opened, show)
        fan = FanOut(lambda item: self._begin(item, self._demands_of(opened, item)), self._limit)
        try:
            fan.run(items, lambda item, future: preview.heard(_outcome(item, future, opened.study)))
        except BaseException:
            self._end(fan.running)
            raise

    def _begin(self, item: Item, demands: Mapping[str, float]) -> Any:
        with signals_later(), _asking(demands):
            return self._task.submit(**item, settings=self._text)

    def _demands_of(self, opened: OpenStudy, item: Item) -> Mapping[str, float]:
        """Return what a trial asks of Dask: as all do, unless its segment has resources of its own.

        Raises ClusterError when no worker has these.
        """
        own = opened.history.trials[item["trial"]].resources
        if own is None or not self._settings.on_dask:
            return self._demands
        request = Request.parse(opened.study.resources).changed(own)
        return demands_on(self._runner.client, request, f"trial {item['trial']}")

    def _end(self, running: Mapping[Any, Item]) -> None:
        if not running:
            return
        keys = [
            self._settings.order(item["trial"], item["segment"]).key for item in running.values()
        ]
        if self._settings.on_dask:
            end_on_dask(self._runner.client, running, keys)
        elif isinstance(self._runner, ThreadPoolTaskRunner):
            end_here(running, keys)


def _asking(demands: Mapping[str, float]) -> AbstractContextManager[Any]:
    """Have Dask send what is submitted meanwhile to workers with such resources."""
    if not demands:
        return contextlib.nullcontext()
    from dask.base import annotate

    asking: AbstractContextManager[Any] = annotate(resources=dict(demands))
    return asking


class _Preview:
    """What a round looks like while it runs, from what its tasks returned."""

    def __init__(self, opened: OpenStudy, show: Show | None) -> None:
        self._opened = opened
        self._show = show
        self._heard: list[Outcome] = []
        self._history: History | None = None
        self._next = time.monotonic() + _PAUSE

    def heard(self, outcome: Outcome | None) -> None:
        """Take note of how a segment ended; now and then show what it makes of the study."""
        if outcome is not None:
            self._heard.append(outcome)
        if self._show is not None and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE
            self._show(*self._said(self._caught_up()))

    def _said(self, history: History) -> tuple[int, int | None, str]:
        done = sum(trial.segment + 1 for trial in history.trials) - len(history.running)
        share = share_done(self._opened.study, history)
        expected = round(done / share) if share else None
        return done, expected, line(self._opened.study, history)

    def _caught_up(self) -> History:
        study = self._opened.study
        if self._history is None:
            self._history = study.history()
            self._history.extend(self._opened.history.facts)
        for outcome in self._heard:
            record_outcome(study, self._history, outcome)
        self._heard.clear()
        return self._history


def _outcome(item: Item, future: Any, study: Study) -> Outcome | None:
    """Return about what a trial's task has come to; None when it has left nothing."""
    try:
        said = future.result(raise_on_failure=False)
    except Exception as error:  # noqa: BLE001 - whatever a cluster says of a task that it lost
        get_run_logger().error("trial %d: %s", item["trial"], explained(error))
        return None
    if isinstance(said, TrialFailedError):
        failure = Failure("trial", str(said))
        return Outcome(item["trial"], item["segment"], "failed", failure=failure)
    return _answered(Answer.from_json(said), study) if isinstance(said, Mapping) else None


def _answered(answer: Answer, study: Study) -> Outcome:
    metrics = {} if answer.value is None else {study.metric: answer.value, **answer.others}
    reports = () if answer.resource is None else (Report(answer.resource, metrics),)
    return Outcome(answer.trial, answer.segment, cast(Status, answer.status), reports)
