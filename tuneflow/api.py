"""Tune from Python: `tune`, `resume`, `load` and `create_study`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tuneflow import rounds, stream
from tuneflow.asktell import AskTellStudy
from tuneflow.budget import Budget
from tuneflow.errors import ObjectiveError, SpecError, TrialsFailedError
from tuneflow.events import Fact
from tuneflow.executors.base import Executor
from tuneflow.executors.placement import Request
from tuneflow.history import History
from tuneflow.interrupt import Interrupts
from tuneflow.job import Job
from tuneflow.last_place import LastPlace, base_folder
from tuneflow.objective import Objective
from tuneflow.objective.reference import describe, load_objective
from tuneflow.opened import OpenStudy
from tuneflow.plugins import make
from tuneflow.preview import Preview
from tuneflow.result import Result
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import ASK_TELL, study_from_json
from tuneflow.stream import Observer
from tuneflow.study import Study
from tuneflow.trackers.attached import TrackerLike, attached, described, make_trackers
from tuneflow.trackers.base import Tracker
from tuneflow.trial import Mode

Train: TypeAlias = Callable[..., Any] | str | Mapping[str, Any]
"""An objective: a function or class, an import path, or ``{"command": […]}``."""

DEFAULT_STORAGE = "./tuneflow-results"


def tune(
    train: Train,
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    storage: str | Path = DEFAULT_STORAGE,
    executor: Executor | Mapping[str, Any] | str = "inline",
    name: str | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] | None = None,
    max_concurrent: int | None = None,
    trackers: Sequence[TrackerLike] = (),
    observers: Sequence[Observer] = (),
    progress: bool = True,
) -> Result:
    """Tune an objective and return what was found.

    A study of the same name and spec that lies in the storage already is gone on with, from
    wherever it stands.

    Args:
        train: the objective; see the documentation of objectives for its forms.
        space: what is searched: names to domains, constants or nested mappings.
        metric: the metric that is optimised.
        mode: "min" or "max".
        scheduler: an instance, a type name, or ``{"type": …, …}``. Default: ``FIFO()``.
        searcher: likewise. Default: ``TPE()``, which needs Optuna.
        trials: how many trials; may be left out when scheduler, searcher or budget end the
            study.
        seed: every random choice follows from it. Default 0.
        storage: a folder or an object storage URL. Default "./tuneflow-results".
        executor: where trials run: an instance, "inline" (the default), "dask", or
            ``{"type": "dask", "workers": 4}``.
        name: the study's name. Default: the objective's name and the time.
        budget: when the study ends early, and the failures that it bears.
        resources: what a trial occupies: ``{"cpu": 1, "gpu": 0.5, "memory": "4GB"}``.
        round_size: None streams; a number or "all" runs in rounds, which give the same journal
            anywhere.
        max_concurrent: how many trials may run at once, beside what the executor allows.
        trackers: what writes down elsewhere what happens, each an instance, a type name or
            ``{"type": "jsonl", "path": …}``. They are no part of the study.
        observers: called with the history and the new facts after each commit.
        progress: whether to show the live view. Default True.

    Raises:
        SpecError: an argument cannot work; nothing has run.
        MissingDependencyError: a package is not installed; nothing has run.
        StudyExistsError: another study lies there under this name.
        StorageError, ClusterError: the storage or the cluster cannot be used.
        TrialsFailedError: the study was halted by failed trials, or none has a usable value.
        KeyboardInterrupt: after Ctrl-C; `resume` goes on.
    """
    objective = load_objective(train)
    study = study_from_json(
        {
            "name": name or _new_name(objective),
            "objective": describe(train),
            "space": Space(space).to_json(),
            "metric": metric,
            "mode": mode,
            "searcher": _plugin("searcher", searcher),
            "scheduler": _plugin("scheduler", scheduler),
            "trials": trials,
            "seed": seed,
            "round_size": round_size,
            "max_concurrent": max_concurrent,
            "budget": budget.to_json() if isinstance(budget, Budget) else budget,
            "resources": resources,
        }
    )
    place = LastPlace(str(Path.cwd()), _described(executor), described(trackers))
    made = make_executor(executor), make_trackers(trackers, Path.cwd())
    study.searcher.prepare()
    return run(
        OpenStudy.create(study, str(storage)),
        objective,
        *made,
        place=place,
        observers=observers,
        progress=progress,
    )


def resume(
    url: str | Path,
    train: Train | None = None,
    *,
    executor: Executor | Mapping[str, Any] | str | None = None,
    retry_failed: bool = False,
    trackers: Sequence[TrackerLike] | None = None,
    observers: Sequence[Observer] = (),
    progress: bool = True,
) -> Result:
    """Go on with a study from wherever it stands, and return what it has found.

    No finished segment runs again. A study that was halted by its failed trials tries them
    again.

    Args:
        url: the study's URL: its storage and its name.
        train: the objective, when it was given as an object that cannot be imported.
        executor: where trials run from now on; it need not be where they ran before. Default:
            as they ran last, if that was given by a name or a mapping, else "inline".
        retry_failed: try failed trials again, also in a study that has finished.
        trackers: see `tune`. Default: those it had last, if they were given by name or mapping.
        observers: see `tune`.
        progress: see `tune`.

    Raises:
        StudyNotFoundError: there is no study.
        ObjectiveError: the objective cannot be imported, and ``train`` is not given.
    """
    opened = OpenStudy.open(str(url))
    place = LastPlace.recall(opened.store)
    folder = base_folder(place)
    if executor is None:
        executor = (place.executor if place else None) or "inline"
    if trackers is None:
        trackers = place.trackers if place else ()
    objective = load_stored_objective(opened.study, folder) if train is None else train
    return run(
        opened,
        load_objective(objective),
        make_executor(executor),
        make_trackers(trackers, folder),
        place=LastPlace(str(folder), _described(executor), described(trackers)),
        observers=observers,
        progress=progress,
        retry_failed=retry_failed,
    )


def load(url: str | Path) -> Result:
    """Return what a study has found so far; it may be running elsewhere, or be finished."""
    return Result(OpenStudy.open(str(url)))


def create_study(
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    storage: str | Path = DEFAULT_STORAGE,
    name: str | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
) -> AskTellStudy:
    """Create a study, or open it, for a loop of your own: `ask` and `tell`.

    The arguments are those of `tune`.
    """
    study = study_from_json(
        {
            "name": name or f"study-{_timestamp()}",
            "objective": ASK_TELL,
            "space": Space(space).to_json(),
            "metric": metric,
            "mode": mode,
            "searcher": _plugin("searcher", searcher),
            "scheduler": _plugin("scheduler", scheduler),
            "trials": trials,
            "seed": seed,
            "budget": budget.to_json() if isinstance(budget, Budget) else budget,
        }
    )
    study.searcher.prepare()
    return AskTellStudy(OpenStudy.create(study, str(storage)))


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
        view = stack.enter_context(_live_view(opened)) if progress else None
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

    Raises SpecError or MissingDependencyError when the searcher or a tracker cannot work, before
    anything runs.
    """
    if opened.history.state == "finished" and not retry_failed:
        if view is not None:
            view(opened.history, ())
        return
    study, history = opened.study, opened.history
    interrupts = Interrupts()
    turn: Callable[..., None] = rounds.drive if study.in_rounds else stream.drive
    if view is not None:
        turn, view = _watched(opened, turn, view)
    watchers = [*observers, view] if view is not None else observers
    study.searcher.prepare()
    with interrupts.installed(), attached(trackers, study, opened.url, history) as followers:
        place.remember(opened.store)
        with executor:
            executor.open(_job(opened), objective)
            turn(
                opened,
                executor,
                observe=_all([*followers, *watchers]),
                retry_failed=retry_failed,
                interrupts=interrupts,
            )


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
        raise TrialsFailedError(
            f"no trial of {result.url} has a finite '{result.study.metric}'{_first_failure(result)}"
        )
    return result


def _first_failure(result: Result) -> str:
    """Return a clause on the first trial that went wrong."""
    failed = result.failed
    if failed:
        return f"; trial {failed[0].number}: {failed[0].failure}"
    metric, first = result.study.metric, result.trials[0]
    return f"; trial {first.number}: {metric} is {first.latest(metric)}"


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


def _job(opened: OpenStudy) -> Job:
    resources = opened.study.resources
    job = Job(storage=opened.url, metric=opened.study.metric, resources=resources)
    # A trial that is kept warm keeps its memory of the GPU, which others need meanwhile.
    return replace(job, warm=0.0) if Request.parse(resources).gpu else job


def _live_view(opened: OpenStudy) -> Any:
    from tuneflow.views.terminal import LiveView

    return LiveView(opened.study, opened.url)


def _all(observers: Sequence[Observer]) -> Observer:
    def observe(history: History, facts: Sequence[Fact]) -> None:
        for observer in observers:
            observer(history, facts)

    return observe


def _plugin(kind: str, given: Any) -> Any:
    """Return a searcher or scheduler as a study file has it."""
    if isinstance(given, Searcher | Scheduler):
        return given.to_json()
    if given is None or isinstance(given, str | Mapping):
        return given
    raise SpecError(kind, f"{given!r} is no {kind}", "give an instance, a type name or a mapping")


def make_executor(given: Executor | Mapping[str, Any] | str) -> Executor:
    """Return the executor that is given, or that a name or a mapping describes."""
    if isinstance(given, Executor):
        return given
    made: Executor = make("executor", given)
    return made


def _described(executor: Executor | Mapping[str, Any] | str) -> Mapping[str, Any] | None:
    """Return an executor as a study file has it; None for an instance."""
    if isinstance(executor, Executor):
        return None
    return {"type": executor} if isinstance(executor, str) else executor


def _new_name(objective: Objective) -> str:
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in objective.name)
    return f"{plain.strip('-') or 'study'}-{_timestamp()}"


def _timestamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
