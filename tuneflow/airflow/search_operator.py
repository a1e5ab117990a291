"""`search`: open a stage's round, and fan its trials out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tuneflow.airflow.failures import explained
from tuneflow.airflow.hook import DaskHook
from tuneflow.airflow.stage_operator import StageOperator
from tuneflow.airflow.stages import require_stages
from tuneflow.airflow.storage_connection import push_study
from tuneflow.airflow.versions import AirflowFailException, AirflowSkipException, conf
from tuneflow.executors.placement import Request
from tuneflow.opened import SPEC_PATH, OpenStudy
from tuneflow.outcomes import stored_outcomes
from tuneflow.pipeline.labels import trial_label, trials_label
from tuneflow.pipeline.launches import entry_of, launch_notes
from tuneflow.pipeline.runs import begin_run
from tuneflow.remote.cluster import Cluster
from tuneflow.rounds import Round, open_round


class SearchOperator(StageOperator):
    """Opens a round of the study, and has the cluster begin with its segments.

    It returns what the trial tasks are mapped over: for each a label and its segments. Everything
    that it does may be done again.

    Args:
        stages: how many stages the DAG has.
        trials_per_task: how many segments one trial task looks after; None: one, or as many as
            it takes to have no more tasks than Airflow's ``max_map_length``.
        fan_out: whether to have the cluster begin before Airflow comes to the trial tasks.
        kwargs: see `StageOperator`.
    """

    def __init__(
        self, *, stages: int, trials_per_task: int | None, fan_out: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.stages = stages
        self.trials_per_task = trials_per_task
        self.fan_out = fan_out

    def execute(self, context: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Open the round, order its segments, and return the items for the trial tasks."""
        with explained():
            opened = self._begin(context) if self.stage == 0 else self.opened(context)
            push_study(context["ti"], opened.url, self.template.storage_conn_id)
            current = self._open(opened, context)
            if current.state == "halted" and opened.history.halted is not None:
                raise AirflowFailException(_halted(opened))
            self.log.info("stage %d of %s: %s", self.stage, opened.url, _said(current))
            if current.segments:
                self._fan_out(opened, current, context)
            return list(self._items(opened, current))

    def _open(self, opened: OpenStudy, context: Mapping[str, Any]) -> Round:
        """Open the round that this stage stands for, if the study comes to it."""
        number = self.round_number(opened, context)
        if opened.history.state == "finished" and number >= opened.rounds:
            raise AirflowSkipException("an earlier stage has finished the study")
        if number > opened.rounds:
            raise AirflowFailException("the stage before is not closed; clear its schedule task")
        return open_round(opened, number)

    def _begin(self, context: Mapping[str, Any]) -> OpenStudy:
        """Create the study, or open the one that is there."""
        opened = self._made(context) if self.template.is_made else self._create(context)
        again = bool(context["params"].get("retry_failed"))
        begin_run(opened, context["dag"].dag_id, context["run_id"], retry_failed=again)
        return opened

    def _create(self, context: Mapping[str, Any]) -> OpenStudy:
        study = self.template.study(self.study_name, context["run_id"], context["params"])
        # One that has begun may be nearly done.
        if not self.store(context).exists(SPEC_PATH):
            require_stages(study, self.stages)
        study.prepare()
        return OpenStudy.create(study, self.storage)

    def _made(self, context: Mapping[str, Any]) -> OpenStudy:
        store = self.store(context)
        if not store.exists(SPEC_PATH):
            raise AirflowSkipException(f"there is no study {store.url}: nothing is to be run")
        return OpenStudy.open(store.url)

    def _fan_out(self, opened: OpenStudy, current: Round, context: Mapping[str, Any]) -> None:
        """Make sure that the cluster can run the segments that have no outcome, and order them.

        A trial task orders its own as well, only later. When this task runs again it is left to
        them: their orders of the first try may have been cancelled, which takes a moment.
        """
        keys = [segment.key for segment in current.segments]
        done = {outcome.key for outcome in stored_outcomes(opened.store, keys)}
        own = {segment.key: segment.resources for segment in current.segments}
        orders = self.orders(opened.url, [key for key in keys if key not in done], resources=own)
        if not orders:
            return
        address = DaskHook(self.template.conn_id).address()
        with Cluster(address, Request.parse(opened.study.resources)) as cluster:
            self.dashboard = cluster.dashboard
            if not self.fan_out or context["ti"].try_number > 1:
                return
            ahead = orders[: opened.study.max_concurrent]
            for order in ahead:
                cluster.submit(order)
        self.log.info("ordered %d segments at %s", len(ahead), address.address)

    def _items(self, opened: OpenStudy, current: Round) -> Iterator[dict[str, Any]]:
        size = max(self.trials_per_task or 1, _least_size(len(current.segments)))
        entry = entry_of(opened, current.number)
        notes = launch_notes(entry, opened.study.scheduler.resuming)
        for first in range(0, len(current.segments), size):
            segments = current.segments[first : first + size]
            numbers = [segment.trial for segment in segments]
            if len(segments) > 1:
                label, note = trials_label(numbers), ""
            else:
                label, note = trial_label(numbers[0], segments[0].params), notes[numbers[0]]
            own = [segment.resources for segment in segments]
            more = {"resources": own} if any(own) else {}
            yield {
                "label": label,
                "note": note,
                "segments": [list(s.key) for s in segments],
                **more,
            }


def _least_size(count: int) -> int:
    """Return how many segments a task must have, for Airflow maps to no more tasks than so many."""
    most: int = conf.getint("core", "max_map_length")
    return max(1, math.ceil(count / most))


def _said(current: Round) -> str:
    count = len(current.segments)
    return f"{count} segments to run" if count else f"nothing to run, the study is {current.state}"


def _halted(opened: OpenStudy) -> str:
    return (
        f"the study {opened.url} was halted: {opened.history.halted}; mend the cause and clear the "
        "schedule task of the stage before"
    )
