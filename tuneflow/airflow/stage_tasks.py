"""The tasks of a study's stages: ``search``, a mapped ``trial`` and ``schedule`` for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import TaskGroup

from tuneflow.airflow.defaults import RETRIES, RETRY_DELAY
from tuneflow.airflow.schedule_operator import ScheduleOperator
from tuneflow.airflow.search_operator import SearchOperator
from tuneflow.airflow.trial_operator import LABEL, TrialOperator

USUAL = "all_success"
"""Airflow's own trigger rule."""

_LIMITS = ("pool", "max_active_tis_per_dag", "max_active_tis_per_dagrun")
"""Operator arguments that say how many trials may run at once: then nothing begins before them."""


@dataclass(frozen=True)
class Stages:
    """The stages of a study, in order.

    Attributes:
        tasks: of each of them, its search, trial and schedule.
    """

    tasks: Sequence[tuple[Any, Any, Any]]

    @property
    def first(self) -> Any:
        """The task that begins the study."""
        return self.tasks[0][0]

    @property
    def ends(self) -> list[Any]:
        """The task that ends each stage."""
        return [schedule for _, _, schedule in self.tasks]

    @property
    def task_ids(self) -> list[str]:
        """The ids of all tasks."""
        return [task.task_id for stage in self.tasks for task in stage]

    @property
    def decisive(self) -> list[str]:
        """The ids of the tasks that must not fail; a study goes on without a trial."""
        return [task.task_id for search, _, schedule in self.tasks for task in (search, schedule)]


class StageTasks:
    """Makes the tasks of a study's stages.

    Args:
        study: which study it is, for each operator.
        trials_per_task: see `tuneflow.airflow.tune_task_group`.
        task_args: likewise.
        trial_args: likewise.
        defaults: what Airflow takes for arguments that are not given.

    Attributes:
        study: as given.
        task_args: what all operators have.
    """

    def __init__(
        self,
        study: Mapping[str, Any],
        trials_per_task: int | None,
        task_args: Mapping[str, Any],
        trial_args: Mapping[str, Any],
        defaults: Mapping[str, Any],
    ) -> None:
        self.study = study
        self.task_args = {key: task_args[key] for key in task_args if key != "trigger_rule"}
        self._trials_per_task = trials_per_task
        self._trial_args = {**_of_trials(defaults), **self.task_args, **trial_args}
        self._begins = task_args.get("trigger_rule", USUAL)
        self._fan_out = not _is_limited({**defaults, **self._trial_args})

    def make(self, count: int) -> Stages:
        """Make the tasks of so many stages."""
        stages = [self._stage(number, count) for number in range(count)]
        for number, (_, _, schedule) in enumerate(stages):
            later = Stages(stages[number + 1 :])
            schedule.later_tasks = later.task_ids
            schedule >> [search for search, _, _ in later.tasks[:1]]
        return Stages(stages)

    def _stage(self, number: int, count: int) -> tuple[Any, Any, Any]:
        study = {**self.study, "stage": number}
        with TaskGroup(f"stage_{number}"):
            search = SearchOperator(
                task_id="search",
                stages=count,
                trials_per_task=self._trials_per_task,
                fan_out=self._fan_out,
                trigger_rule=USUAL if number else self._begins,
                **study,
                **self.task_args,
            )
            trial = TrialOperator.partial(
                task_id="trial", **{"map_index_template": LABEL, **study, **self._trial_args}
            ).expand(item=search.output)
            schedule = ScheduleOperator(
                task_id="schedule", later_tasks=[], **study, **self.task_args
            )
        [search, trial] >> schedule
        return search, trial, schedule


def _of_trials(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of the trial tasks, where nobody has said otherwise.

    Older versions of Airflow do not look for them in the signature of an operator that is mapped.
    """
    usual = {"retries": RETRIES, "retry_delay": RETRY_DELAY}
    ours = {key: value for key, value in usual.items() if key not in defaults}
    return {**ours, "trigger_rule": USUAL} if "trigger_rule" in defaults else ours


def _is_limited(trial_args: Mapping[str, Any]) -> bool:
    """Whether Airflow is to say how many trials run at once."""
    given = {key: trial_args.get(key) for key in _LIMITS}
    return any(value not in (None, "default_pool") for value in given.values())
