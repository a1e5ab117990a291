"""Stop the trials of a flow run that was cancelled, or that has crashed.

Prefect ends the flow's process. Threads end with it, and so does a cluster that the flow has
started; on a cluster that others have started trials go on, and nobody would hear of them. Prefect
calls what is here in whichever process has seen the flow run end.
"""

from __future__ import annotations

import time
from typing import Any

from prefect.logging.loggers import flow_run_logger

from tuneflow.errors import TuneflowError
from tuneflow.prefect.plan import RunPlan
from tuneflow.prefect.runner import is_dask
from tuneflow.remote.orders import study_key
from tuneflow.remote.segments import controls

_REACHING = 10.0
"""Seconds to wait for the scheduler."""

_ENDING = 15.0
"""Seconds to wait for trials to come to a report."""

_LOOK = 0.25


def stop_trials(flow: Any, flow_run: Any, state: Any) -> None:
    """End the trials of a flow run on its Dask cluster, at their next report, without an outcome.

    A later run of the study goes on with them from their newest checkpoints. What cannot be done is
    a warning in the flow run's log.

    Args:
        flow: a flow that `tuneflow.prefect.tune_flow` has made.
        flow_run: the run.
        state: the state that it has come to.
    """
    if not _has_cluster(flow.task_runner):
        return
    logger = flow_run_logger(flow_run, flow)
    try:
        left = _stop(flow.task_runner, _study_of(flow.plan, flow_run))
    except TuneflowError as error:
        logger.warning("trials may still run on the Dask cluster: %s", error)
        return
    for worker in left:
        logger.warning("a trial still runs on %s; it ends at its next report", worker)


def _has_cluster(runner: Any) -> bool:
    """Return whether a task runner has a cluster that outlives the flow's process."""
    return is_dask(runner) and bool(runner.address)


def _study_of(plan: RunPlan, flow_run: Any) -> str:
    """Return the URL of the study that a flow run was at."""
    return plan.study_url(str(flow_run.id), flow_run.parameters)


def _stop(runner: Any, url: str) -> list[str]:
    """End the trials of a study; return the workers on which any still runs in the end."""
    from tuneflow.executors import dask_cluster

    security = runner.client_kwargs.get("security")
    with dask_cluster.connect(runner.address, _REACHING, security) as client:
        deadline = time.monotonic() + _ENDING
        # Told again and again: a worker may just have begun with another one.
        while (left := _told(client, url)) and time.monotonic() < deadline:
            time.sleep(_LOOK)
    return left


def _told(client: Any, url: str) -> list[str]:
    """Tell the trials of a study to end; return the workers that have any."""
    answers = client.run(tell_study, url, on_error="ignore")
    return [worker for worker, is_busy in answers.items() if is_busy]


def tell_study(url: str) -> bool:
    """Tell the trials of a study to end if they run in this process; return whether any does."""
    beginning = f"{study_key(url)}-"
    keys = [key for key in controls.running() if _is_trial(str(key), beginning)]
    told = [controls.tell(key, "abandon") for key in keys]
    return any(told)


def _is_trial(key: str, beginning: str) -> bool:
    """Return whether an order is for a segment, and not for a driver; see `segment_key`."""
    return key.startswith(beginning) and key.removeprefix(beginning)[:1].isdigit()
