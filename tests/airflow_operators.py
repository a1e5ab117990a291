"""Operators of a stage that are executed one by one, with no Airflow around them."""

from __future__ import annotations

import contextvars
from pathlib import Path
from types import SimpleNamespace

from airflow.sdk.bases.operator import ExecutorSafeguard

from tests.places import new_url
from tuneflow.airflow.making import make_template
from tuneflow.airflow.stage_operators import ScheduleOperator, SearchOperator, TrialOperator
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import write_outcome
from tuneflow.pipeline.runs import begin_run
from tuneflow.rounds import open_round
from tuneflow.trial import Failure, Outcome, Report

DAG_ID = "dag"


class TaskInstance:
    """What an operator asks of its task instance, and what it tells it.

    Args:
        try_number: from 1 on.
        states: those of other tasks of the run.
    """

    def __init__(self, try_number=1, states=()):
        self.try_number = try_number
        self.states = dict(states)
        self.pushed = {}

    def xcom_push(self, key, value):
        self.pushed[key] = value

    def get_task_states(self, dag_id, task_ids, run_ids):
        assert dag_id == DAG_ID
        return {run_ids[0]: {one: self.states[one] for one in task_ids if one in self.states}}


class Stages:
    """A study, and the operators of its stages.

    Args:
        train: the objective.
        storage: where the study is; a new place unless told otherwise.
        settings: more of the study.
    """

    def __init__(self, train="train:train", storage=None, **settings):
        given = {
            "space": {"rate": {"type": "float", "low": 0.1, "high": 0.9}},
            "metric": "loss",
            "mode": "min",
            "searcher": "random",
            "round_size": "all",
            "trials": 3,
        }
        self.template = make_template(train, Path.cwd(), **{**given, **settings})
        self.storage = str(storage or new_url())
        self.run_id = "run"
        self.context = {}

    def begin(self):
        """Create the study and open its first round, as the first search does; return it."""
        opened = OpenStudy.create(self.template.study("study", self.run_id, {}), self.storage)
        begin_run(opened, DAG_ID, self.run_id, retry_failed=False)
        open_round(opened, 0)
        return opened

    def opened(self):
        """Return the study as it is stored."""
        return OpenStudy.open(f"{self.storage}/study")

    def search(self, stage=0, *, stages=5, trials_per_task=None, fan_out=True):
        more = {"stages": stages, "trials_per_task": trials_per_task, "fan_out": fan_out}
        return self._operator(SearchOperator, "search", stage, **more)

    def trial(self, *segments, stage=0, note="", **more):
        """Return the operator that looks after some segments."""
        numbers = ", ".join(str(trial) for trial, _ in segments)
        item = {"label": f"trial {numbers}", "note": note, "segments": segments}
        return self._operator(TrialOperator, "trial", stage, item=item, **more)

    def schedule(self, stage=0, later_tasks=()):
        return self._operator(ScheduleOperator, "schedule", stage, later_tasks=later_tasks)

    def _operator(self, kind, name, stage, **more):
        return kind(
            task_id=f"tune.stage_{stage}.{name}",
            template=self.template,
            study_name="study",
            storage=self.storage,
            stage=stage,
            **more,
        )

    def execute(self, operator, try_number=1, states=(), **params):
        """Execute an operator; what it was told is in `context` afterwards."""
        self.context = {
            "ti": TaskInstance(try_number, states),
            "run_id": self.run_id,
            "dag": SimpleNamespace(dag_id=DAG_ID),
            "params": params,
        }
        return within(operator, lambda: operator.execute(self.context))

    def close(self, stage, try_number=1, search="success", later_tasks=(), **params):
        """Execute the schedule operator of a stage whose search has ended in some state."""
        states = {f"tune.stage_{stage}.search": search}
        return self.execute(self.schedule(stage, later_tasks), try_number, states, **params)


def within(operator, call):
    """Call something as Airflow's task runner would."""
    context = contextvars.copy_context()
    context.run(ExecutorSafeguard.tracker.set, operator)
    return context.run(call)


def leave(opened, trial, segment=0, *, value=0.5, failure=None, level=None, checkpoint=None):
    """Leave the outcome of a segment, as a worker does: at a level, or at the objective's end."""
    if failure is not None:
        outcome = Outcome(trial, segment, "failed", failure=Failure(*failure))
    else:
        report = Report(level or 1, {"loss": value}, checkpoint)
        outcome = Outcome(trial, segment, "paused" if level else "completed", (report,))
    write_outcome(opened.store, outcome)
