"""Tune from Python: `tune`, `resume`, `load` and `create_study`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tuneflow.asktell import AskTellStudy
from tuneflow.budget import Budget
from tuneflow.checkpointing import Checkpointing
from tuneflow.driving import load_stored_objective, make_executor, run
from tuneflow.executors.base import Executor
from tuneflow.goals import Modes, Names
from tuneflow.last_place import LastPlace, base_folder
from tuneflow.objective import Objective
from tuneflow.objective.reference import describe, load_objective
from tuneflow.opened import OpenStudy
from tuneflow.result import Result
from tuneflow.schedulers.base import Scheduler
from tuneflow.schedulers.lineage import lineage, schedule_of
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import ASK_TELL, StopLike, plain_spec, study_from_json
from tuneflow.stream import Observer
from tuneflow.trackers.attached import TrackerLike, described, make_trackers

Train: TypeAlias = Callable[..., Any] | str | Mapping[str, Any]
"""An objective: a function or class, an import path, or ``{"command": […]}``."""

DEFAULT_STORAGE = "./tuneflow-results"


def tune(
    train: Train,
    *,
    space: Space | Mapping[str, Any],
    metric: Names,
    mode: Modes,
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
    constraints: Sequence[str] = (),
    stop: StopLike | Sequence[StopLike] | None = None,
    checkpoints: Checkpointing | Mapping[str, Any] | None = None,
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
        metric: the metric that is optimised, or a list of several; of those the first one counts
            for the scheduler, the budget and the best trial.
        mode: "min" or "max"; a list of as many for several metrics.
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
        constraints: bounds on reported metrics, such as ``["latency_ms <= 100"]``; a trial that
            breaks one is never the best. Default none.
        stop: what ends trials, or the study, beside the scheduler: a stopper or a list of them,
            each an instance, a type name or ``{"type": "trial_plateau", …}``. Default none.
        checkpoints: when checkpoints are saved and which are kept, such as
            ``{"seconds": 600, "keep": {"last": 1, "best": 3}}``; see
            `tuneflow.checkpointing.Checkpointing`. Default: at each report, and all.
        trackers: what writes down elsewhere what happens, each an instance, a type name or
            ``{"type": "jsonl", "path": …}``. They are no part of the study.
        observers: called with the history and the new facts after each commit.
        progress: whether to show the live view. Default True.

    Raises:
        SpecError: an argument cannot work; nothing has run.
        MissingDependencyError: a package is not installed; nothing has run.
        StudyExistsError: another study lies there under this name.
        StorageError, ClusterError: the storage or the cluster cannot be used.
        TrialsFailedError: the study was halted by failed trials, or none has a usable value, or
            none keeps the constraints.
        KeyboardInterrupt: after Ctrl-C; `resume` goes on.
    """
    objective = load_objective(train)
    study = study_from_json(
        plain_spec(
            name=name or _new_name(objective),
            objective=describe(train),
            space=space,
            metric=metric,
            mode=mode,
            searcher=searcher,
            scheduler=scheduler,
            trials=trials,
            seed=seed,
            round_size=round_size,
            max_concurrent=max_concurrent,
            budget=budget,
            resources=resources,
            constraints=constraints,
            stop=stop,
            checkpoints=checkpoints,
        )
    )
    place = LastPlace(str(Path.cwd()), _described(executor), described(trackers))
    made = make_executor(executor), make_trackers(trackers, Path.cwd())
    study.prepare()
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


def pbt_schedule(url: str | Path, trial: int | None = None) -> list[dict[str, Any]]:
    """Return the schedule of configurations that made a trial of a PBT or PB2 study.

    It goes back through all that the trial copied. `tuneflow.schedulers.PBTReplay` trains with
    it: ``scheduler={"type": "pbt_replay", "schedule": tuneflow.pbt_schedule(url)}``.

    Args:
        url: the study's URL.
        trial: the trial's number. Default: the best one.

    Raises:
        StudyNotFoundError: there is no study.
        SpecError: there is no such trial, or it has reported nothing.
    """
    return schedule_of(lineage(OpenStudy.open(str(url)).history, trial))


def create_study(
    *,
    space: Space | Mapping[str, Any],
    metric: Names,
    mode: Modes,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    storage: str | Path = DEFAULT_STORAGE,
    name: str | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    constraints: Sequence[str] = (),
    stop: StopLike | Sequence[StopLike] | None = None,
) -> AskTellStudy:
    """Create a study, or open it, for a loop of your own: `ask` and `tell`.

    The arguments are those of `tune`.
    """
    study = study_from_json(
        plain_spec(
            name=name or f"study-{_timestamp()}",
            objective=ASK_TELL,
            space=space,
            metric=metric,
            mode=mode,
            searcher=searcher,
            scheduler=scheduler,
            trials=trials,
            seed=seed,
            budget=budget,
            constraints=constraints,
            stop=stop,
        )
    )
    study.prepare()
    return AskTellStudy(OpenStudy.create(study, str(storage)))


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
