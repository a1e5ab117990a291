"""``tuneflow validate`` and ``tuneflow version``."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneflow import __version__
from tuneflow.cli.options import AsJson, ExecutorName, Settings, Storage, StudyPath
from tuneflow.cli.output import print_json, show, write

if TYPE_CHECKING:
    from rich.table import Table

    from tuneflow.schedulers.brackets import Ladder
    from tuneflow.study import Study
    from tuneflow.study_file import StudyFile


def validate(
    study: StudyPath,
    *,
    storage: Storage = None,
    settings: Settings = None,
    executor: ExecutorName = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also try whether the storage can be written to.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything about a study file that can be checked without running a trial."""
    from tuneflow.api import DEFAULT_STORAGE
    from tuneflow.driving import load_stored_objective, make_executor
    from tuneflow.opened import check_place
    from tuneflow.study_file import load_study_file
    from tuneflow.trackers.attached import make_trackers

    file = load_study_file(study, settings or (), executor)
    load_stored_objective(file.study, file.folder)
    make_executor(file.executor)
    make_trackers(file.trackers, file.folder)
    file.study.prepare()
    check_place(file.study, storage or file.storage or DEFAULT_STORAGE, probe=probe)
    ladders = _ladders(file.study)
    if as_json:
        print_json(_document(file, ladders))
        return
    write(f"ok: {_would_run(file)}")
    if ladders:
        show(_table(ladders))


def _document(file: StudyFile, ladders: list[Ladder]) -> dict[str, Any]:
    from tuneflow.views.progress import trial_limit

    return {
        "ok": True,
        "name": file.study.name,
        "trials": trial_limit(file.study),
        "brackets": ladders,
    }


def _would_run(file: StudyFile) -> str:
    from tuneflow.views import text
    from tuneflow.views.progress import trial_limit

    study, limit = file.study, trial_limit(file.study)
    trials = text.plural(limit, "trial") if limit is not None else "trials, until a budget ends it"
    return (
        f"'{study.name}' would run {trials} of {text.objective(study.objective)} for the "
        f"{text.goal(study)}, with {text.plugin(study.searcher.to_json())} and "
        f"{text.plugin(study.scheduler.to_json())}, on {text.plugin(file.executor)}"
    )


def _ladders(study: Study) -> list[Ladder]:
    """Return the rungs of each bracket; of ASHA, what they come to if all trials end well."""
    from tuneflow.schedulers.brackets import SynchronousScheduler
    from tuneflow.schedulers.dehb import DEHB
    from tuneflow.schedulers.levels import ladder
    from tuneflow.schedulers.rungs import AsyncHalving
    from tuneflow.views.progress import trial_limit, unwrapped

    scheduler, limit = unwrapped(study.scheduler), trial_limit(study)
    if isinstance(scheduler, SynchronousScheduler):
        return scheduler.shapes()
    if isinstance(scheduler, DEHB):
        return scheduler.brackets()
    if isinstance(scheduler, AsyncHalving) and limit is not None:
        return [ladder(limit, scheduler.levels, scheduler.reduction_factor)]
    return []


def _table(ladders: list[Ladder]) -> Table:
    """Return a row for each rung: bracket, resource, trials."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for name in ("bracket", "resource", "trials"):
        table.add_column(name, justify="right")
    for bracket, rungs in enumerate(ladders):
        for position, (count, level) in enumerate(rungs):
            table.add_row("" if position else str(bracket), f"{level:g}", str(count))
        table.add_section()
    return table


def version(as_json: AsJson = False) -> None:
    """Show the version of tuneflow and of what it runs on."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    found = {"tuneflow": __version__, "python": platform.python_version()}
    for package in ("dask", "distributed", "optuna", "obstore"):
        try:
            found[package] = version_of(package)
        except PackageNotFoundError:
            continue
    if as_json:
        print_json(found)
        return
    for package, number in found.items():
        write(f"{package} {number}")
