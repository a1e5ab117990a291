"""The tasks of a flow: `search` opens a round, `trial` runs a segment, `schedule` closes it.

The functions are not decorated, so that workers find them by their names.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Cancelled

from tuneflow.errors import TrialsFailedError
from tuneflow.opened import OpenStudy
from tuneflow.outcomes import stored_outcomes
from tuneflow.pipeline.collecting import collect_between_rounds
from tuneflow.pipeline.labels import segment_label
from tuneflow.pipeline.launches import entry_of, launch_notes
from tuneflow.pipeline.results import problem_of_round
from tuneflow.pipeline.stage_result import StageResult
from tuneflow.prefect.failures import (
    RoundFailedError,
    TrialFailedError,
    is_mendable,
    is_without_outcome,
)
from tuneflow.prefect.held import HeldStudy
from tuneflow.prefect.lending import lend_credentials
from tuneflow.prefect.settings import TrialSettings, read_settings
from tuneflow.remote.orders import Answer, SegmentOrder
from tuneflow.remote.segments import PreemptedError, run_here
from tuneflow.rounds import Round, open_round
from tuneflow.store import NotFound, Store
from tuneflow.trial import Outcome, Report, TrialState, log_path
from tuneflow.views.text import plural

_LINES = 200
"""Lines of a trial's output that go to the task's log."""

_CHARACTERS = 100_000
"""Their characters at most: Prefect drops what is too long."""

_PAUSE = 5.0
"""Seconds between two reports that are logged; a quick trial logs none."""


def open_search(study: HeldStudy, number: int) -> dict[str, Any]:
    """Open a round, and say what is to be run for it.

    Returns:
        ``round``; the study's ``state``; ``segments``, how many the round has; and ``trials``,
        those that have no outcome yet: each a ``trial``, a ``segment`` and a ``label``.

    Raises:
        TrialsFailedError: the study is halted.
    """
    with study.using() as opened:
        if opened.history.state == "finished":
            current = Round(number, (), "finished")
        else:
            current = open_round(opened, number)
        _require_running(opened)
        items = _items(opened, current)
    count = len(current.segments)
    get_run_logger().info("round %d of %s: %s", number, opened.url, _said(current, len(items)))
    return {"round": number, "state": current.state, "segments": count, "trials": items}


def run_trial(trial: int, segment: int, label: str, settings: str) -> Any:
    """Run a segment, unless it has an outcome, and log what it printed.

    Args:
        trial: the trial's number.
        segment: the segment's number.
        label: what the task run is called.
        settings: the text of `TrialSettings`.

    Returns:
        The JSON of an `Answer`; or the state "Cancelled" if the trial was told to end.

    Raises:
        TrialFailedError: the trial's own code failed. It has an outcome, and is not run again.
        TuneflowError: it was not run to its end. So it is with all other errors.
    """
    shared, logger = read_settings(settings), get_run_logger()
    lend_credentials(shared.storage)
    outcome = _outcome(shared, shared.order(trial, segment), logger)
    if outcome is None:
        return Cancelled(message=f"trial {trial} was told to end; it can be run again")
    _show(Store(shared.study), outcome, logger)
    if outcome.failure is not None:
        failure = outcome.failure
        raise TrialFailedError(f"trial {trial} failed: {failure.kind}: {failure.message}")
    return Answer.of(outcome, shared.metric).to_json()


def close_round(
    study: HeldStudy, number: int, retry_failed: bool, may_all_fail: bool = False
) -> dict[str, Any]:
    """Take the outcomes of a round in, decide what follows, and log a table of the trials.

    Args:
        study: the study.
        number: the round's.
        retry_failed: whether trials that failed in earlier rounds are tried again.
        may_all_fail: see `tuneflow.pipeline.results.problem_of_round`.

    Returns:
        ``round``, the study's ``state``, and what `StageResult.to_json` has.

    Raises:
        RoundFailedError: there is nothing to go on with; the round stays open.
        TrialsFailedError: the study is halted.
    """
    with study.using() as opened:
        if opened.rounds == number + 1:
            _require_outcomes(opened, may_all_fail=may_all_fail)
        again = retry_failed and opened.history.counts[TrialState.FAILED] > 0
        following = open_round(opened, number + 1, retry_failed=again)
        study.result = StageResult.read(opened, following.number)
        if study.result.closed:
            get_run_logger().info("round %d:\n%s", number, study.result.table())
        _require_running(opened)
        collect_between_rounds(opened, get_run_logger())
    return {"round": number, "state": following.state, **study.result.to_json()}


_PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
"""What is stored is in the study: a task that is run again finds it there."""

search: Any = Task(
    open_search,
    name="search",
    task_run_name="search round {number}",
    retry_condition_fn=is_mendable,
    **_PLAIN,
)
trial: Any = Task(
    run_trial,
    name="trial",
    task_run_name="{label}",
    retry_condition_fn=is_without_outcome,
    **_PLAIN,
)
schedule: Any = Task(
    close_round,
    name="schedule",
    task_run_name="schedule round {number}",
    retry_condition_fn=is_mendable,
    **_PLAIN,
)


def _items(opened: OpenStudy, current: Round) -> list[dict[str, Any]]:
    """Return what the trial tasks are mapped over: the segments that have no outcome."""
    done = {one.key for one in stored_outcomes(opened.store, [s.key for s in current.segments])}
    notes = launch_notes(entry_of(opened, current.number), opened.study.scheduler.resuming)
    return [
        {
            "trial": segment.trial,
            "segment": segment.segment,
            "label": segment_label(segment, notes.get(segment.trial, "")),
        }
        for segment in current.segments
        if segment.key not in done
    ]


def _said(current: Round, left: int) -> str:
    count = len(current.segments)
    if not count:
        return f"nothing to run, the study is {current.state}"
    done = f", {count - left} of them finished already" if left < count else ""
    return f"{plural(count, 'segment')}{done}"


def _require_running(opened: OpenStudy) -> None:
    """Raise TrialsFailedError for a study that is halted."""
    if opened.history.halted is not None:
        raise TrialsFailedError(
            f"the study {opened.url} was halted: {opened.history.halted}; mend the cause and run "
            "the flow again, and the trials that failed are tried again"
        )


def _require_outcomes(opened: OpenStudy, *, may_all_fail: bool) -> None:
    problem = problem_of_round(opened, "round", may_all_fail=may_all_fail)
    if problem is not None:
        raise RoundFailedError(f"{problem}; see their logs, mend the cause and run the flow again")


def _outcome(shared: TrialSettings, order: SegmentOrder, logger: Any) -> Outcome | None:
    if not shared.on_dask:
        # A notice concerns the flow's process as well.
        with suppress(PreemptedError):
            return run_here(order, _teller(order.trial, logger))[1]
        return None
    from tuneflow.remote.work import run_order_of_others

    return run_order_of_others(order)[1]


def _teller(trial: int, logger: Any) -> Any:
    """Return what logs reports, the newest one every few seconds."""
    told = time.monotonic()

    def tell(report: Report) -> None:
        nonlocal told
        if time.monotonic() >= told + _PAUSE:
            told = time.monotonic()
            metrics = ", ".join(f"{name} {value:.4g}" for name, value in report.metrics.items())
            logger.info("trial %d at %s: %s", trial, report.resource, metrics)

    return tell


def _show(store: Store, outcome: Outcome, logger: Any) -> None:
    """Copy what a trial printed, and the traceback of its failure, into the task's log."""
    try:
        lines = store.get(log_path(*outcome.key)).decode(errors="replace").splitlines()
    except NotFound:
        lines = []
    if lines:
        text = "\n".join(lines[-_LINES:])[-_CHARACTERS:]
        logger.info("what trial %d printed:\n%s", outcome.trial, text)
    if outcome.failure is not None and outcome.failure.traceback:
        logger.error("trial %d:\n%s", outcome.trial, outcome.failure.traceback)
