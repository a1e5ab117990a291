"""``tuneflow retune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneflow.cli.ending import interrupted
from tuneflow.cli.options import (
    AsJson,
    ExecutorName,
    Settings,
    ShowProgress,
    Storage,
    StudyPath,
)
from tuneflow.cli.output import print_json, say, write

if TYPE_CHECKING:
    from tuneflow.opened import OpenStudy
    from tuneflow.retune.local import Retuned
    from tuneflow.retune.plan import Plan
    from tuneflow.study_file import StudyFile


def retune(
    study: StudyPath,
    *,
    storage: Storage = None,
    settings: Settings = None,
    executor: ExecutorName = None,
    data_version: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Which data it is, for the record. Default: today, in UTC.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The same again goes on with what it has begun, or tells what came of it. "
            "Default: the data version.",
            show_default=False,
        ),
    ] = None,
    trigger: Annotated[
        str, typer.Option(metavar="TEXT", help="What set it off, for the record.")
    ] = "command",
    as_json: AsJson = False,
    progress: ShowProgress = True,
) -> None:
    """Tune the study of a file again, on today's data, and promote what is better."""
    from tuneflow.api import DEFAULT_STORAGE
    from tuneflow.retune.local import run_retune, today
    from tuneflow.store import Store
    from tuneflow.study_file import load_study_file

    file = load_study_file(study, settings or (), executor)
    if file.trackers:
        say("the trackers of the file are left out: they follow one study, and a retune has three")
    root = Store(storage or file.storage or DEFAULT_STORAGE)
    data_version = data_version or today()
    url = root.child(file.study.name).url
    try:
        found = run_retune(
            url,
            plan_of(file),
            _Drive(file, progress),
            run=run or data_version,
            data_version=data_version,
            trigger=trigger,
            say=say,
        )
    except KeyboardInterrupt as interruption:
        sentence = "interrupted; the same command goes on with this retune"
        raise interrupted(interruption, sentence, {"url": url}) from None
    _show(found, as_json)


def plan_of(file: StudyFile) -> Plan:
    """Return the plan of a retune that a study file asks for."""
    from tuneflow.retune.plan import make_plan

    spec = {key: value for key, value in file.study.to_json().items() if key != "name"}
    return make_plan(spec, file.retune)


class _Drive:
    """Drives the studies of a retune where the file says that trials run."""

    def __init__(self, file: StudyFile, progress: bool) -> None:
        from tuneflow.driving import load_stored_objective, make_executor
        from tuneflow.last_place import LastPlace

        make_executor(file.executor)
        self._executor = file.executor
        self._objective = load_stored_objective(file.study, file.folder)
        file.study.prepare()
        self._place = LastPlace(str(file.folder), file.executor)
        self._progress = progress

    def __call__(self, opened: OpenStudy) -> None:
        from tuneflow.driving import make_executor
        from tuneflow.retune.local import drive_study

        drive_study(
            opened,
            self._objective,
            make_executor(self._executor),
            self._place,
            progress=self._progress,
        )


def _show(found: Retuned, as_json: bool) -> None:
    if as_json:
        print_json(document(found))
        return
    verdict = "there is a new champion" if found.promoted else "the champion stays"
    write(f"retune {found.number}: {verdict}; {found.reason}")
    write(f"  tuneflow champion show {found.url}")


def document(found: Retuned) -> dict[str, Any]:
    """Return what a retune has come to, as JSON; the champion as its record has it."""
    return {
        "url": found.url,
        "retune": found.number,
        "promoted": found.promoted,
        "reason": found.reason,
        "champion": found.champion.to_json() if found.champion is not None else None,
    }
