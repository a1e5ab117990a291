"""`tune_task_group`: a study in rounds as a group of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from airflow.sdk import TaskGroup

from tuneflow.airflow.best_output import BestOutput
from tuneflow.airflow.dags import add_params, current_folder, defaults_of
from tuneflow.airflow.making import check_place, check_task_args, make_template
from tuneflow.airflow.stage_operators import BestOperator
from tuneflow.airflow.stage_tasks import StageTasks
from tuneflow.airflow.stages import require_whole, stages_of
from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing
from tuneflow.errors import SpecError
from tuneflow.goals import Modes, Names
from tuneflow.pipeline.template import Existing
from tuneflow.remote.code import Train
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import StopLike


def tune_task_group(
    train: Train,
    *,
    space: Space | Mapping[str, Any],
    metric: Names,
    mode: Modes,
    storage: str,
    group_id: str = "tune",
    name: str | None = None,
    conn_id: str = "dask_default",
    storage_conn_id: str | None = None,
    existing: Existing = "resume",
    stages: int | None = None,
    trials_per_task: int | None = None,
    outlets: Any = None,
    trial_args: Mapping[str, Any] | None = None,
    isolation: Literal["thread", "process"] = "thread",
    timeout: float | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] = "all",
    max_concurrent: int | None = None,
    constraints: Sequence[str] = (),
    stop: StopLike | Sequence[StopLike] | None = None,
    checkpoints: Checkpointing | Mapping[str, Any] | None = None,
    **task_args: Any,
) -> BestOutput:
    """Make the tasks of a study, and return what its last one returns.

    Each round of the study is a stage of three tasks: ``search``, a mapped ``trial`` and
    ``schedule``. ``best`` returns ``{"study", "trial", "value", "metric", "config",
    "checkpoint"}``. The keywords from ``searcher`` on are those of `tuneflow.tune`.

    Args:
        train: the objective: a function, ``file.py:function`` relative to the DAG's file,
            ``module:function``, or ``{"command": […]}``.
        space: what is searched: names to domains, constants or nested mappings.
        metric: the metric that is optimised, or a list; see `tuneflow.tune`.
        mode: "min" or "max"; for several metrics a list.
        storage: URL of the object storage, which Airflow and the Dask workers reach; a template.
        group_id: the id of the task group.
        name: the study's name; a template. Default: the DAG's id, and the group's id where
            that is not "tune".
        conn_id: the Airflow connection of the Dask cluster.
        storage_conn_id: the Airflow connection with the credentials for the storage, in the
            processes of Airflow: of type "aws", "wasb" or "google_cloud_platform", or any with an
            extra such as ``{"AWS_ACCESS_KEY_ID": …}``. The Dask workers have their own. Default:
            the environment.
        existing: what a new run of the DAG does with a study of this name: "resume" goes on with
            it, "new" makes one for each run.
        stages: how many stages there are. Default: the most that the scheduler can need, and 2.
        trials_per_task: how many trials one mapped task looks after. Default 1; more when there
            would be more tasks than Airflow's ``max_map_length``.
        outlets: an asset, or several, that an event is sent for when the study is finished; its
            extra is what ``best`` returns.
        trial_args: operator arguments of the trial tasks alone, such as ``pool``.
        isolation: "thread" runs a trial in its Dask worker, "process" in a process of its own.
        timeout: seconds after which a segment fails, or None.
        searcher: see `tuneflow.tune`.
        scheduler: see `tuneflow.tune`.
        trials: see `tuneflow.tune`.
        seed: see `tuneflow.tune`.
        budget: see `tuneflow.tune`.
        resources: see `tuneflow.tune`.
        round_size: the most trials of a stage, or "all" (the default).
        max_concurrent: see `tuneflow.tune`; how many trials begin before Airflow comes to them.
        constraints: see `tuneflow.tune`.
        stop: see `tuneflow.tune`.
        checkpoints: see `tuneflow.tune`.
        task_args: operator arguments of all tasks, such as ``retries`` or ``executor_config``;
            a ``trigger_rule`` is that of the first task, which begins the group.

    What is put before the result (``extract() >> tune_task_group(…)``) comes before the first
    task, and what takes it, or is put after it, comes after ``best``.

    Raises:
        SpecError: an argument cannot work. In a DAG's file that is an import error.
    """
    template = make_template(
        train,
        current_folder(),
        conn_id=conn_id,
        storage_conn_id=storage_conn_id,
        existing=existing,
        isolation=isolation,
        timeout=timeout,
        space=space,
        metric=metric,
        mode=mode,
        searcher=searcher,
        scheduler=scheduler,
        trials=trials,
        seed=seed,
        budget=budget,
        resources=resources,
        round_size=round_size,
        max_concurrent=max_concurrent,
        constraints=constraints,
        stop=stop,
        checkpoints=checkpoints,
    )
    study = template.check()
    if not study.in_rounds:
        raise SpecError("round_size", "a task group needs rounds", "use TuneOperator to stream")
    if trials_per_task is not None:
        require_whole("trials_per_task", trials_per_task)
    check_place(name, storage)
    check_task_args(task_args, tune_task_group)
    check_task_args(trial_args or {}, tune_task_group, "trial_args")
    count = stages_of(study, stages)
    add_params()
    with TaskGroup(group_id) as group:
        tasks = StageTasks(
            {
                "template": template,
                "study_name": name or _default_name(group.group_id),
                "storage": storage,
            },
            trials_per_task,
            task_args,
            trial_args or {},
            defaults_of(group),
        )
        made = tasks.make(count)
        best = BestOperator(
            task_id="best", stage=count, outlets=outlets, **tasks.study, **tasks.task_args
        )
        made.ends >> best
        return BestOutput(best, made.first)


def _default_name(group_id: str) -> str:
    """Return a template for the name of a study, one for each group of a DAG."""
    return "{{ dag.dag_id }}" if group_id == "tune" else f"{{{{ dag.dag_id }}}}.{group_id}"
