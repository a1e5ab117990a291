"""Drive a study to its end on an executor: what `tune` and the command share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuneflow import rounds, stream
from tuneflow.collecting import collecting
from tuneflow.errors import ObjectiveError, TrialsFailedError
from tuneflow.events import Fact
from tuneflow.executors.base import Executor
from tuneflow.executors.placement import Request
from tuneflow.history import History
from tuneflow.interrupt import Interrupts
from tuneflow.job import Job
from tuneflow.last_place import LastPlace
from tuneflow.nearest import usable_trials, why_no_best
from tuneflow.objective import Objective
from tuneflow.objective.reference import load_objective
from tuneflow.opened import OpenStudy
from tuneflow.plugins import make
from tuneflow.preemption import Notice, notices
from tuneflow.preview import Preview
from tuneflow.result import Result
from tuneflow.spec import ASK_TELL
from tuneflow.stream import Observer
from tuneflow.study import Study
from tuneflow.trackers.attached import attached
from tuneflow.trackers.base import Tracker


def run(
    opened: OpenStudy,
    objective: Objective,
    executor: Executor,
    trackers: Sequence[Tracker] = (),
    *,
    place: LastPlace,
    observers: Sequence[Observer] = (),
    progress: bool = True,
    retry_failed: bool = False,
) -> Result:
    """Drive an open study to its end, see `drive`, and return a result that can be used.

    Raises TrialsFailedError like `tune`.
    """
    with ExitStack() as stack:
        view = stack.enter_context(live_view(opened)) if progress else None
        drive(
            opened,
            objective,
            executor,
            trackers,
            place=place,
            observers=observers,
            view=view,
            retry_failed=retry_failed,
        )
    return checked(Result(opened))


def drive(
    opened: OpenStudy,
    objective: Objective,
    executor: Executor,
    trackers: Sequence[Tracker] = (),
    *,
    place: LastPlace,
    observers: Sequence[Observer] = (),
    view: Observer | None = None,
    retry_failed: bool = False,
    interrupts: Interrupts | None = None,
) -> None:
    """Drive an open study to its end on an executor, which is opened and closed here.

    Args:
        opened: the study.
        objective: its objective.
        executor: where its trials run.
        trackers: what follows it; they are opened and closed here too.
        place: what a later resume is to know of where it ran.
        observers: called with the history and the new facts after each commit.
        view: an observer for the eyes; in rounds it sees reports as they arrive.
        retry_failed: try failed trials again, also in a study that has finished.
        interrupts: what another thread may interrupt it by, beside Ctrl-C.

    Raises SpecError or MissingDependencyError when what decides or a tracker cannot work, before
    anything runs.
    """
    if opened.history.state == "finished" and not retry_failed:
        if view is not None:
            view(opened.history, ())
        return
    study, history = opened.study, opened.history
    interrupts = interrupts or Interrupts()
    turn: Callable[..., None] = rounds.drive if study.in_rounds else stream.drive
    if view is not None:
        turn, view = _watched(opened, turn, view)
    watchers = [*observers, view] if view is not None else observers
    study.prepare()
    with (
        interrupts.installed(),
        _noticing(interrupts),
        attached(trackers, study, opened.url, history) as followers,
        collecting(opened) as collect,
    ):
        watchers = [*watchers, collect] if collect is not None else watchers
        place.remember(opened.store)
        with executor:
            executor.open(job_of(opened), objective)
            with interrupts.waking(executor.wake):
                turn(
                    opened,
                    executor,
                    observe=_all([*followers, *watchers]),
                    retry_failed=retry_failed,
                    interrupts=interrupts,
                )


@contextmanager
def _noticing(interrupts: Interrupts) -> Iterator[None]:
    """End the driver too, as by SIGTERM, when its machine is about to be taken away."""

    def hear(notice: Notice) -> None:
        if notice.place is None:
            interrupts.request(is_terminated=True)

    notices.hear(hear)
    try:
        yield
    finally:
        notices.forget(hear, None)


def _watched(
    opened: OpenStudy, turn: Callable[..., None], view: Observer
) -> tuple[Callable[..., None], Observer]:
    """Show a view what there is, and return how it is shown the rest."""
    if not opened.study.in_rounds:
        view(opened.history, ())
        return turn, view
    preview = Preview(opened.study, opened.history, view)
    return functools.partial(turn, hear=preview.hear), preview.committed


def checked(result: Result) -> Result:
    """Return a result that can be used. Raises TrialsFailedError when it cannot."""
    if result.history.halted is not None:
        cause = _first_failure(result) if result.failed else ""
        raise TrialsFailedError(
            f"the study was halted: {result.history.halted}{cause}. Mend the cause, then: "
            f"tuneflow resume {result.url}"
        )
    if result.trials and result.history.best() is None:
        cause = "" if usable_trials(result.history) else _first_failure(result)
        raise TrialsFailedError(f"no trial of {result.url} {why_no_best(result.history)}{cause}")
    return result


def _first_failure(result: Result) -> str:
    """Return a clause on the first trial that went wrong."""
    failed = result.failed
    if failed:
        return f"; trial {failed[0].number}: {failed[0].failure}"
    first = result.trials[0]
    values = {metric: first.latest(metric) for metric, _ in result.study.objectives}
    said = (f"{key} is {'missing' if value is None else value}" for key, value in values.items())
    return f"; trial {first.number}: {', '.join(said)}"


def load_stored_objective(study: Study, folder: Path) -> Objective:
    """Return the objective that a study's spec names.

    Args:
        study: the study.
        folder: where relative paths start, and where a command without a ``cwd`` runs.

    Raises:
        ObjectiveError: it cannot be imported, or is no objective that is called.
    """
    if study.objective == ASK_TELL:
        raise ObjectiveError(
            f"the study '{study.name}' is driven by ask and tell; go on with it by "
            "tuneflow.create_study with the same arguments"
        )
    reference = dict(study.objective)
    if "command" in reference:
        reference.setdefault("cwd", str(folder))
    return load_objective(reference, folder)


def job_of(opened: OpenStudy) -> Job:
    """Return what workers are told of a study."""
    resources = opened.study.resources
    checkpoints = opened.study.checkpoints
    job = Job(
        storage=opened.url,
        metric=opened.study.metric,
        resources=resources,
        most_resources=opened.study.scheduler.most_resources,
        checkpoint_every=checkpoints.period,
        checkpoint_seconds=checkpoints.seconds,
        background=checkpoints.background,
    )
    # A trial that is kept warm keeps its memory of the GPU, which others need meanwhile.
    return replace(job, warm=0.0) if Request.parse(resources).gpu else job


def live_view(opened: OpenStudy) -> Any:
    """Return a context manager that shows a study in the terminal, and gives the observer."""
    from tuneflow.views.terminal import LiveView

    return LiveView(opened.study, opened.url)


def _all(observers: Sequence[Observer]) -> Observer:
    def observe(history: History, facts: Sequence[Fact]) -> None:
        for observer in observers:
            observer(history, facts)

    return observe


def make_executor(given: Executor | Mapping[str, Any] | str) -> Executor:
    """Return the executor that is given, or that a name or a mapping describes."""
    if isinstance(given, Executor):
        return given
    made: Executor = make("executor", given)
    return made
