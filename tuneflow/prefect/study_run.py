"""What a flow does: rounds of `search`, mapped `trial` and `schedule`, until there is no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.context import FlowRunContext

from tuneflow.errors import TuneflowError
from tuneflow.executors.placement import Request
from tuneflow.opened import OpenStudy
from tuneflow.pipeline.best import best_of
from tuneflow.pipeline.runs import begin_run
from tuneflow.prefect import tasks
from tuneflow.prefect.artifacts import Artifacts
from tuneflow.prefect.held import HeldStudy
from tuneflow.prefect.lending import lend_credentials
from tuneflow.prefect.plan import FlowPlan
from tuneflow.prefect.round_trials import RoundTrials
from tuneflow.prefect.runner import check_room, check_runner, is_dask, prepare_dask
from tuneflow.prefect.settings import TrialSettings


def run_study(plan: FlowPlan, params: Mapping[str, Any]) -> dict[str, Any]:
    """Run a study to its end, from wherever it stands; the body of a flow.

    Args:
        plan: what the flow tunes.
        params: those of the flow run.

    Returns:
        What `tuneflow.pipeline.best.best_of` does.

    Raises:
        SpecError: a param cannot work, or not with the task runner.
        MissingDependencyError: the searcher needs a package that is not installed.
        StudyExistsError: another study lies there under this name.
        TrialsFailedError: no trial has a usable value.
        TuneflowError: see `drive_study`.
    """
    context = FlowRunContext.get()
    check_runner(context.task_runner)
    study = plan.template.study(params["name"], str(context.flow_run.id), params)
    study.prepare()
    opened = OpenStudy.create(study, lend_credentials(params["storage"]))
    artifacts = Artifacts(opened, name=params["name"])
    with told_of_problems(artifacts):
        again = bool(params["retry_failed"])
        finished = drive_study(
            plan, opened, params["storage"], retry_failed=again, artifacts=artifacts
        )
        best = best_of(finished)
        artifacts.finished(best, None)
    return best


def drive_study(
    plan: FlowPlan,
    opened: OpenStudy,
    storage: str,
    *,
    retry_failed: bool = False,
    artifacts: Artifacts | None = None,
    phase: str = "",
    may_all_fail: bool = False,
) -> OpenStudy:
    """Run a study to its end, from wherever it stands, with tasks of the flow run that calls this.

    Args:
        plan: has the objective, and says how trials are run.
        opened: the study.
        storage: where it is kept: a URL, or ``block:NAME``.
        retry_failed: try failed trials again, also in a study that has finished.
        artifacts: told what happens.
        phase: what the names of the tasks begin with, where a flow run drives several studies.
        may_all_fail: see `tuneflow.pipeline.results.problem_of_round`.

    Returns:
        The study as it is then; ``opened`` is not up to date.

    Raises:
        SpecError: the task runner's workers cannot see such a storage.
        ObjectiveError: the objective cannot travel to the workers.
        StorageError, ClusterError: the storage or the cluster cannot be used.
        RoundFailedError: the trials of a round left nothing to go on with.
        TrialsFailedError: the study was halted.
    """
    context = FlowRunContext.get()
    trials = _trials(plan, opened, storage, context.task_runner, phase)
    first = _begun(opened, context.flow.name, context.flow_run, retry_failed=retry_failed)
    if artifacts is not None:
        artifacts.began()
    study, number = HeldStudy(opened.url), max(opened.rounds - 1, 0)
    search, schedule = (_patient(task, plan, phase) for task in (tasks.search, tasks.schedule))
    state = "running"
    while state != "finished" and (found := search(study, number))["segments"]:
        with study.using() as current:
            trials.run(current, found["trials"], artifacts.progress if artifacts else None)
        again = retry_failed and number == first
        state = schedule(study, number, again, may_all_fail)["state"]
        if artifacts is not None and study.result is not None:
            artifacts.round_closed(study.result)
        number += 1
    with study.using() as finished:
        return finished


def _trials(
    plan: FlowPlan, opened: OpenStudy, storage: str, runner: Any, phase: str
) -> RoundTrials:
    """Return what runs the trials, once it is clear that they can be run."""
    request = Request.parse(opened.study.resources)
    demands: Mapping[str, float] = {}
    if is_dask(runner):
        demands = prepare_dask(runner, opened.url, request)
    else:
        check_room(request.changed(opened.study.scheduler.most_resources))
    settings = TrialSettings(
        study=opened.url,
        metric=opened.study.metric,
        storage=storage,
        code=plan.template.code(),
        isolation=plan.template.isolation,
        timeout=plan.template.timeout,
        on_dask=is_dask(runner),
    )
    trial = _patient(tasks.trial, plan, phase)
    return RoundTrials(trial, settings, runner, demands, opened.study.max_concurrent)


def _patient(task: Any, plan: FlowPlan, phase: str) -> Any:
    """Return a task with the retries of a flow, and with the name of a phase before its own."""
    name = f"{phase}: {task.task_run_name}" if phase else task.task_run_name
    return task.with_options(
        task_run_name=name,
        retries=plan.trial_retries,
        retry_delay_seconds=plan.trial_retry_delay,
    )


def _begun(opened: OpenStudy, flow: str, flow_run: Any, *, retry_failed: bool) -> int:
    """Return the round that a flow run begins at.

    A retry of the run is the same run. It only goes on where the study was halted, or where there
    was nothing but failures; failed trials that the run was to try again it has tried.
    """
    run_id, orchestrator = str(flow_run.id), "prefect"
    first = begin_run(opened, flow, run_id, retry_failed=retry_failed, orchestrator=orchestrator)
    if flow_run.run_count > 1:
        retry = f"{run_id}-{flow_run.run_count}"
        begin_run(opened, flow, retry, retry_failed=False, orchestrator=orchestrator)
    return first


@contextmanager
def told_of_problems(artifacts: Artifacts) -> Iterator[None]:
    """Let the artifacts say why a run has failed; the log is spared what lies behind our errors."""
    try:
        yield
    except TuneflowError as error:
        artifacts.finished(None, str(error))
        raise error from None
    except Exception as error:
        artifacts.finished(None, f"{type(error).__name__}: {error}")
        raise
