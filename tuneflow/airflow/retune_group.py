"""`retune_task_group`: look for a better configuration, and promote it if it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from airflow.sdk import TaskGroup

from tuneflow.airflow.dags import add_params, check_schedule, current_folder, defaults_of
from tuneflow.airflow.making import check_place, check_task_args, make_template
from tuneflow.airflow.retune_operators import (
    AnnounceOperator,
    BeginOperator,
    ChallengeOperator,
    JudgeOperator,
    PrepareOperator,
)
from tuneflow.airflow.retune_output import RetuneOutput
from tuneflow.airflow.stage_tasks import USUAL, Stages, StageTasks
from tuneflow.airflow.stages import require_whole, stages_of
from tuneflow.airflow.template import DagStudy
from tuneflow.budget import Budget
from tuneflow.errors import SpecError
from tuneflow.remote.code import Train
from tuneflow.retune.plan import SEED_KEY, Limits, Plan, make_plan
from tuneflow.schedulers.base import Scheduler
from tuneflow.schedulers.fifo import FIFO
from tuneflow.searchers.base import Searcher
from tuneflow.searchers.random import Random
from tuneflow.space import Space
from tuneflow.study import Study
from tuneflow.trial import Mode

PARAMS: Final = ("trials", "space", "budget", "data_version")
"""What a user can set when triggering a run."""

_AFTER: Final = "none_failed"
"""The trigger rule of what comes after a study that may have had nothing to run."""

DATE: Final = "{{ dag_run.run_after | ds }}"
"""The day that a run is of; a run that an asset event begins has no logical date."""


def retune_task_group(
    train: Train,
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    storage: str,
    group_id: str = "retune",
    name: str | None = None,
    data_version: str = DATE,
    seeds: int = 5,
    seed_key: str = SEED_KEY,
    margin: float = 0.0,
    confidence: float = 0.95,
    test: Literal["t", "permutation"] = "t",
    points: int = 8,
    discount: float = 0.5,
    defaults: Mapping[str, Any] | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    replace_unmeasured: bool = False,
    conn_id: str = "dask_default",
    storage_conn_id: str | None = None,
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
    **task_args: Any,
) -> RetuneOutput:
    """Make the tasks of a retune, and return what its ``judge`` returns.

    ``champion`` measures the champion on today's data, ``search`` looks for a challenger with what
    was found before, ``challenger`` measures that one, and ``judge`` writes down who is the
    champion from now on. It returns ``{"line", "retune", "promoted", "reason", "champion"}``.
    ``announce`` comes after it, and is skipped where the champion stays.

    Args:
        train: see `tuneflow.airflow.tune_task_group`, and so for all that is not explained here.
            Its configuration has the key ``seed`` as well.
        space: what is searched. Its constants are templates, such as the path of today's data.
        metric: it must be that of the line's history, and so must ``mode``.
        mode: "min" or "max".
        storage: a template.
        group_id: the id of the task group.
        name: the name of the line; a template. Where the storage has a study of this name, its
            best trial is the first champion. Default: the DAG's id, and the group's id where that
            is not "retune".
        data_version: says which data it is; only written down. A template. Default: the day of
            the run, in UTC.
        seeds: with how many seeds champion and challenger are measured.
        seed_key: the key of the configuration that holds a run's seed.
        margin: by how much the challenger must be better, in the metric's unit.
        confidence: how sure that must be, from 0.5 to below 1.
        test: "t" or "permutation".
        points: how many past configurations are tried first.
        discount: what a past result counts for each retune that has passed since, from 0 to 1.
        defaults: what the training code used for a parameter before it became one, by its path.
        limits: what the whole retune may use; see `tuneflow.retune.plan.Limits`.
        replace_unmeasured: whether a champion that fails with every seed gives way to a challenger
            that does not. Otherwise the retune fails there, for somebody to look at it.
        conn_id: see `tuneflow.airflow.tune_task_group`.
        storage_conn_id: see `tuneflow.airflow.tune_task_group`.
        stages: how many stages the search has.
        trials_per_task: see `tuneflow.airflow.tune_task_group`.
        outlets: an asset, or several, that an event is sent for when there is a new champion; its
            extra is what ``judge`` returns.
        trial_args: see `tuneflow.airflow.tune_task_group`.
        isolation: see `tuneflow.airflow.tune_task_group`.
        timeout: see `tuneflow.airflow.tune_task_group`.
        searcher: it learns from past results, if it learns at all.
        scheduler: its highest level is what champion and challenger are measured at.
        trials: of the search.
        seed: every random choice follows from it.
        budget: of the search.
        resources: of a trial.
        round_size: of the search: the most trials of a stage, or "all".
        max_concurrent: see `tuneflow.airflow.tune_task_group`.
        task_args: operator arguments of all tasks; a ``trigger_rule`` is that of the first task.

    Raises:
        SpecError: an argument, or the DAG's schedule, cannot work. In a DAG's file that is an
            import error.
        MissingDependencyError: the test needs a package that is not installed.
    """
    template = make_template(
        train,
        current_folder(),
        conn_id=conn_id,
        storage_conn_id=storage_conn_id,
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
    )
    plan = make_plan(
        template.spec,
        {
            "seeds": seeds,
            "seed_key": seed_key,
            "margin": margin,
            "confidence": confidence,
            "test": test,
            "points": points,
            "discount": discount,
            "defaults": defaults,
            "limits": limits,
            "replace_unmeasured": replace_unmeasured,
        },
    )
    study = plan.check()
    if not study.in_rounds:
        raise SpecError("round_size", "a task group needs rounds", 'write a number, or "all"')
    if trials_per_task is not None:
        require_whole("trials_per_task", trials_per_task)
    check_place(name, storage)
    check_schedule()
    check_task_args(task_args, retune_task_group)
    check_task_args(trial_args or {}, retune_task_group, "trial_args")
    counts = (stages_of(_measuring(study, plan)), stages_of(study, stages))
    add_params(PARAMS)
    with TaskGroup(group_id) as group:
        begin = BeginOperator(
            task_id="begin",
            template=template,
            options=_options(plan),
            stages=counts[1],
            line_name=name or _default_name(group.group_id),
            storage=storage,
            space=template.spec["space"],
            data_version=data_version,
            **{"trigger_rule": USUAL, **task_args},
        )
        rest = {key: value for key, value in task_args.items() if key != "trigger_rule"}
        phases = _Phases(
            begin.task_id,
            template,
            trials_per_task=trials_per_task,
            task_args=rest,
            trial_args=trial_args or {},
            defaults=defaults_of(group),
        )
        return _wired(begin, phases, counts, outlets)


def _wired(
    begin: BeginOperator, phases: _Phases, counts: tuple[int, int], outlets: Any
) -> RetuneOutput:
    """Make the tasks after the first one, and put them in order.

    Args:
        begin: the first task.
        phases: makes the stages of studies, and knows what all tasks have.
        counts: how many stages there are to measure a configuration, and to search.
        outlets: those of the last task.
    """
    of_step = {
        "begin": begin.task_id,
        "storage_conn_id": begin.template.storage_conn_id,
        **phases.task_args,
    }
    champion = phases.make("champion", counts[0], may_all_fail=begin.options["replace_unmeasured"])
    prepare = PrepareOperator(task_id="prepare", trigger_rule=_AFTER, **of_step)
    search = phases.make("search", counts[1])
    challenge = ChallengeOperator(task_id="challenge", trigger_rule=_AFTER, **of_step)
    challenger = phases.make("challenger", counts[0])
    begin.measuring, challenge.measuring = champion.task_ids, challenger.task_ids
    decisive = [begin.task_id, *champion.decisive, prepare.task_id, *search.decisive]
    decisive += [challenge.task_id, *challenger.decisive]
    judge = JudgeOperator(task_id="judge", tasks=decisive, **of_step)
    announce = AnnounceOperator(
        task_id="announce",
        judge=judge.task_id,
        outlets=outlets,
        **{**of_step, "trigger_rule": USUAL},
    )
    # A study that there is not is skipped, and a step goes on after that; but it does not when the
    # step before it has failed. So each looks at that one, too.
    begin >> champion.first
    [begin, *champion.ends] >> prepare >> search.first
    [prepare, *search.ends] >> challenge >> challenger.first
    [begin, prepare, challenge, *challenger.ends] >> judge >> announce
    return RetuneOutput(begin, judge, announce)


class _Phases:
    """Makes the stages of a retune's studies, which other tasks make when the DAG runs.

    Args:
        begin: the id of the task that says where they are.
        template: the search as the DAG has it.
        trials_per_task: see `retune_task_group`.
        task_args: likewise, without the trigger rule of the first task.
        trial_args: likewise.
        defaults: what Airflow takes for arguments that are not given.

    Attributes:
        task_args: as given.
    """

    def __init__(
        self,
        begin: str,
        template: DagStudy,
        *,
        trials_per_task: int | None,
        task_args: Mapping[str, Any],
        trial_args: Mapping[str, Any],
        defaults: Mapping[str, Any],
    ) -> None:
        self.task_args = task_args
        self._template = replace(template, is_made=True)
        self._storage = (
            f"{{{{ (ti.xcom_pull(task_ids='{begin}', map_indexes=-1) or {{}})"
            ".get('storage', '') }}"
        )
        self._more = (trials_per_task, task_args, trial_args, defaults)

    def make(self, name: str, count: int, *, may_all_fail: bool = False) -> Stages:
        """Make a group with so many stages for one of the studies."""
        study = {
            "template": replace(self._template, may_all_fail=may_all_fail),
            "study_name": name,
            "storage": self._storage,
        }
        with TaskGroup(name):
            return StageTasks(study, *self._more).make(count)


def _measuring(study: Study, plan: Plan) -> Study:
    """Return a study that has as many stages as one that measures a configuration."""
    scheduler = FIFO(max_resource=study.scheduler.limit)
    return replace(
        study, searcher=Random(), scheduler=scheduler, trials=plan.seeds, round_size="all"
    )


def _options(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value in plan.to_json().items() if key != "study"}


def _default_name(group_id: str) -> str:
    """Return a template for the name of a line, one for each group of a DAG."""
    return "{{ dag.dag_id }}" if group_id == "retune" else f"{{{{ dag.dag_id }}}}.{group_id}"
