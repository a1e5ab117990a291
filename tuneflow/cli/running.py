"""``tuneflow run`` and ``tuneflow resume``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneflow.cli.documents import status_document
from tuneflow.cli.ending import UnsuccessfulError, interrupted
from tuneflow.cli.options import (
    AsJson,
    ExecutorName,
    RetryFailed,
    Settings,
    ShowProgress,
    Storage,
    StudyPath,
    StudyUrl,
)
from tuneflow.cli.output import console, print_json, say, write

if TYPE_CHECKING:
    from pathlib import Path

    from tuneflow.executors.base import Executor
    from tuneflow.last_place import LastPlace
    from tuneflow.objective import Objective
    from tuneflow.opened import OpenStudy
    from tuneflow.result import Result
    from tuneflow.stream import Observer
    from tuneflow.trackers.base import Tracker


def run(
    study: StudyPath,
    *,
    storage: Storage = None,
    settings: Settings = None,
    executor: ExecutorName = None,
    as_json: AsJson = False,
    progress: ShowProgress = True,
    retry_failed: RetryFailed = False,
) -> None:
    """Run the study of a file, or go on with it if it is there already."""
    from tuneflow.api import DEFAULT_STORAGE
    from tuneflow.driving import load_stored_objective, make_executor
    from tuneflow.last_place import LastPlace
    from tuneflow.opened import OpenStudy
    from tuneflow.study_file import load_study_file
    from tuneflow.trackers.attached import make_trackers

    file = load_study_file(study, settings or (), executor)
    drive = _Drive(
        objective=load_stored_objective(file.study, file.folder),
        executor=make_executor(file.executor),
        trackers=make_trackers(file.trackers, file.folder),
        place=LastPlace(str(file.folder), file.executor, file.trackers),
        as_json=as_json,
        progress=progress,
        retry_failed=retry_failed,
    )
    file.study.prepare()
    drive(OpenStudy.create(file.study, storage or file.storage or DEFAULT_STORAGE))


def resume(
    url: StudyUrl,
    *,
    retry_failed: RetryFailed = False,
    executor: ExecutorName = None,
    settings: Settings = None,
    as_json: AsJson = False,
    progress: ShowProgress = True,
) -> None:
    """Go on with a study, where it ran last unless told otherwise."""
    from tuneflow.driving import load_stored_objective, make_executor
    from tuneflow.last_place import LastPlace, base_folder
    from tuneflow.opened import OpenStudy
    from tuneflow.trackers.attached import make_trackers

    opened = OpenStudy.open(url)
    last = LastPlace.recall(opened.store)
    folder = base_folder(last)
    place = _place(folder, last, executor, settings or ())
    drive = _Drive(
        objective=load_stored_objective(opened.study, folder),
        executor=make_executor(place.executor or "inline"),
        trackers=make_trackers(place.trackers, folder),
        place=place,
        as_json=as_json,
        progress=progress,
        retry_failed=retry_failed,
    )
    drive(opened)


def _place(
    folder: Path, last: LastPlace | None, name: str | None, settings: Sequence[str]
) -> LastPlace:
    """Return where a study is gone on with: where it ran last, changed as asked."""
    from tuneflow.errors import SpecError
    from tuneflow.last_place import LastPlace
    from tuneflow.study_file import assign, choose_executor, executor_of
    from tuneflow.trackers.attached import described

    data: dict[str, Any] = {"executor": last.executor, "trackers": last.trackers} if last else {}
    choose_executor(data, name)
    for setting in settings:
        if not setting.strip().startswith(("executor.", "trackers=")):
            problem = f"'{setting}' would change what the study is"
            fix = "a resume takes --set executor.KEY=VALUE and --set trackers=[…] only"
            raise SpecError("--set", problem, fix)
        assign(data, setting)
    return LastPlace(str(folder), executor_of(data), described(data.get("trackers") or ()))


@dataclass(frozen=True)
class _Drive:
    """How a study is driven, whichever command asks for it."""

    objective: Objective
    executor: Executor
    trackers: Sequence[Tracker]
    place: LastPlace
    as_json: bool
    progress: bool
    retry_failed: bool

    def __call__(self, opened: OpenStudy) -> None:
        from tuneflow.driving import drive

        if opened.history.facts:
            say(_standing(opened, self.place))
        try:
            with watched(opened, self.progress, self.as_json) as view:
                drive(
                    opened,
                    self.objective,
                    self.executor,
                    self.trackers,
                    place=self.place,
                    view=view,
                    retry_failed=self.retry_failed,
                )
        except KeyboardInterrupt as interruption:
            sentence = f"interrupted; go on with: tuneflow resume {shlex.quote(opened.url)}"
            raise interrupted(interruption, sentence, status_document(opened)) from None
        conclude(opened, self.as_json)


def conclude(opened: OpenStudy, as_json: bool) -> None:
    """Say what a study that is over has come to. Raises UnsuccessfulError if that is no success."""
    from tuneflow.result import Result

    problem = _problem(Result(opened))
    document = status_document(opened)
    if not as_json:
        write(_what_next(opened.url))
    elif problem is None:
        print_json(document)
    if problem is not None:
        raise UnsuccessfulError(problem, document)


@contextmanager
def watched(
    opened: OpenStudy, progress: bool, as_json: bool, *, is_driven_here: bool = True
) -> Iterator[Observer | None]:
    """Show the study on stderr meanwhile, and a summary in the end."""
    from tuneflow.views.terminal import LiveView, summary

    err = console(stderr=True)
    if progress:
        with LiveView(opened.study, opened.url, err, is_driven_here=is_driven_here) as view:
            yield view
        return
    yield None
    if not as_json:
        err.print(summary(opened.study, opened.history, opened.url, is_driven_here=is_driven_here))


def _standing(opened: OpenStudy, place: LastPlace) -> str:
    history = opened.history
    where = (place.executor or {}).get("type", "inline")
    done = sum(trial.state.is_final for trial in history.trials)
    trials = f"{done} of {len(history.trials)} trials are done"
    return f"going on with {opened.url} ({where}): it is {history.state}, {trials}"


def _problem(result: Result) -> str | None:
    """Return why a study that was driven is no success, or None."""
    from tuneflow.driving import checked
    from tuneflow.errors import TrialsFailedError

    try:
        checked(result)
    except TrialsFailedError as error:
        return str(error)
    failed, bearable = result.failed, result.study.budget.max_failures
    if not failed or (bearable is not None and len(failed) <= bearable):
        return None
    first = failed[0]
    count = f"{len(failed)} of {len(result.trials)} trials failed"
    return f"{count}; trial {first.number}: {first.failure}"


def _what_next(url: str) -> str:
    quoted = shlex.quote(url)
    return "\n".join(
        [
            f"study: {url}",
            f"  tuneflow best {quoted}",
            f"  tuneflow trials {quoted}",
            f"  tuneflow logs {quoted} TRIAL",
            f"  tuneflow report {quoted} -o report.html",
        ]
    )
