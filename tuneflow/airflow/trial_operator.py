"""`trial`: see to it that segments are run, without a worker slot while they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuneflow.airflow.failures import explained
from tuneflow.airflow.hook import DaskHook
from tuneflow.airflow.segments_trigger import SegmentsTrigger
from tuneflow.airflow.stage_operator import StageOperator
from tuneflow.airflow.versions import (
    AirflowException,
    AirflowFailException,
    TaskDeferralTimeout,
    TaskDeferred,
)
from tuneflow.errors import TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.goals import make_objectives
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes
from tuneflow.pipeline.labels import finished_label
from tuneflow.remote.cluster import Cluster
from tuneflow.remote.orders import Answer, segment_key
from tuneflow.rounds import forget_failed
from tuneflow.store import NotFound, Store
from tuneflow.trial import Mode, Outcome, log_path

_LINES = 200
"""Lines of a trial's output that go to the task's log."""

_IMPORTS = ("ImportError", "ModuleNotFoundError")
"""Failures that are the workers' and not the trial's: what is missing may be installed."""

LABEL = "{{ label | default(task.first_label) }}"
"""Airflow's ``map_index_template`` of trial tasks."""


class TrialOperator(StageOperator):
    """Sees to it that the segments of an item are run; deferred until they are.

    A trial that failed makes the task fail, and the study goes on without it. Airflow does not
    retry it, for the study has its own rules for that (``budget.max_failures_per_trial``); what
    left no outcome, such as a lost worker, is retried.

    Args:
        item: one of what `SearchOperator` returned.
        kwargs: see `StageOperator`.
    """

    def __init__(self, *, item: Mapping[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", LABEL)
        super().__init__(**kwargs)
        self.item = item

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """Look for the outcomes, and wait for those that are missing."""
        with explained():
            store = self.store(context)
            outcomes = self._outcomes(store, context)
            if len(outcomes) < len(self._keys):
                raise self._deferral(store.url, context)
            return self._finish(store, context, outcomes)

    def resume(self, context: Any, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Take note of the outcomes that are there now; what counts is what is stored."""
        self.dashboard = event["dashboard"]
        with explained():
            store = self.store(context)
            outcomes = stored_outcomes(store, self._keys)
            return self._finish(store, context, outcomes, event["error"])

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        """Go on after a deferral; when that took too long, end what runs on Dask first."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self._cancel(context)
            raise AirflowException(
                f"{self.item['label']} has not ended within the execution_timeout of "
                f"{self.execution_timeout}; it was cancelled on the Dask cluster"
            ) from None

    def _cancel(self, context: Any) -> None:
        try:
            url, attempt = self.store(context).url, context["ti"].try_number
            with Cluster(DaskHook(self.template.conn_id).address(), self._request) as cluster:
                cluster.cancel([segment_key(url, *key, attempt) for key in self._keys])
        except TuneflowError as error:
            self.log.warning("the trials could not be cancelled: %s", error)

    @property
    def first_label(self) -> str:
        """What the task is called until something has come of it."""
        return finished_label(self.item["label"], "", None, self.item["note"])

    @property
    def _request(self) -> Request:
        return Request.parse(self.template.spec.get("resources"))

    @property
    def _keys(self) -> list[tuple[int, int]]:
        return [(trial, segment) for trial, segment in self.item["segments"]]

    def _outcomes(self, store: Store, context: Any) -> list[Outcome]:
        """Return the outcomes that are stored; a later try forgets those of failures."""
        outcomes = stored_outcomes(store, self._keys)
        failed = [one for one in outcomes if one.failure is not None]
        if context["ti"].try_number == 1 or not failed:
            return outcomes
        opened = OpenStudy.open(store.url)
        for outcome in failed:
            if forget_failed(opened, outcome.key):
                self.log.info("trial %d is run again", outcome.trial)
                outcomes.remove(outcome)
            else:
                self.log.warning(
                    "the study has gone on after the failure of trial %d, so it stands; trigger "
                    "the DAG with retry_failed to try failed trials again",
                    outcome.trial,
                )
        return outcomes

    def _deferral(self, url: str, context: Any) -> BaseException:
        """Return what has Airflow wait for the segments without a worker slot."""
        address = DaskHook(self.template.conn_id).address()
        own = dict(zip(self._keys, self.item.get("resources", ()), strict=False))
        orders = self.orders(url, self._keys, context["ti"].try_number, own)
        trigger = SegmentsTrigger(
            orders=[order.to_json() for order in orders],
            address=address.to_json(),
            resources=self.template.spec.get("resources") or {},
        )
        deferral: BaseException = TaskDeferred(
            trigger=trigger, method_name="resume", timeout=self.execution_timeout
        )
        return deferral

    def _finish(
        self, store: Store, context: Any, outcomes: Sequence[Outcome], error: str = ""
    ) -> list[dict[str, Any]]:
        metric, _ = self._goal()
        answers = [Answer.of(outcome, metric) for outcome in outcomes]
        context["label"] = self._finished_label(answers)
        for outcome in outcomes:
            self._show(store, outcome)
        found = {outcome.key for outcome in outcomes}
        missing = [key for key in self._keys if key not in found]
        if missing:
            raise AirflowException(error or f"trial {missing[0][0]} has left no outcome")
        failed = [answer for answer in answers if answer.failure]
        if failed:
            first = failed[0]
            sentence = f"trial {first.trial} failed: {first.kind}: {first.failure}"
            can_be_mended = any(answer.kind in _IMPORTS for answer in failed)
            raise (AirflowException if can_be_mended else AirflowFailException)(sentence)
        return [answer.to_json() for answer in answers]

    def _finished_label(self, answers: Sequence[Answer]) -> str:
        metric, mode = self._goal()
        values = [answer.value for answer in answers if answer.value is not None]
        value = (max if mode == "max" else min)(values, default=None)
        metric = metric if len(self._keys) == 1 else f"best {metric}"
        failed = sum(1 for answer in answers if answer.failure)
        word = "failed" if failed and len(self._keys) == 1 else f"{failed} failed" if failed else ""
        return finished_label(self.item["label"], metric, value, self.item["note"], word)

    def _goal(self) -> tuple[str, Mode]:
        """Return the metric that a label shows, the first of several, and its mode."""
        return make_objectives(self.template.spec["metric"], self.template.spec["mode"])[0]

    def _show(self, store: Store, outcome: Outcome) -> None:
        """Copy what a trial printed into the task's log."""
        try:
            lines = store.get(log_path(*outcome.key)).decode(errors="replace").splitlines()
        except NotFound:
            lines = []
        if lines:
            self.log.info("what trial %d printed:", outcome.trial)
        for line in lines[-_LINES:]:
            self.log.info("  %s", line)
        if outcome.failure is not None and outcome.failure.traceback:
            self.log.error("trial %d:\n%s", outcome.trial, outcome.failure.traceback)
