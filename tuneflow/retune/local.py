"""Retune from one process, which drives the three studies one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tuneflow.api import DEFAULT_STORAGE, Train
from tuneflow.budget import Budget
from tuneflow.driving import checked, drive, live_view, make_executor
from tuneflow.errors import StudyConflictError, TuneflowError
from tuneflow.executors.base import Executor
from tuneflow.last_place import LastPlace
from tuneflow.objective import Objective
from tuneflow.objective.reference import describe, load_objective
from tuneflow.opened import OpenStudy
from tuneflow.result import Result
from tuneflow.retune.champions import Champion, Record
from tuneflow.retune.line import Retune
from tuneflow.retune.plan import Plan, make_plan
from tuneflow.retune.stages import begin, fail, judge, prepare_challenger, prepare_search
from tuneflow.schedulers.base import Scheduler
from tuneflow.searchers.base import Searcher
from tuneflow.space import Space
from tuneflow.spec import plain_spec
from tuneflow.store import Store
from tuneflow.trial import Mode


@dataclass(frozen=True)
class Retuned:
    """What a retune has come to.

    Attributes:
        url: the line.
        number: the retune's number.
        promoted: whether there is a new champion.
        reason: why, or why not.
        champion: who is the champion now, measured on today's data; None when there is none.
        record: what was written down.
    """

    url: str
    number: int
    promoted: bool
    reason: str
    champion: Champion | None
    record: Record

    @property
    def config(self) -> Mapping[str, Any] | None:
        """The champion's configuration."""
        return self.champion.config if self.champion is not None else None


def retune(
    train: Train,
    *,
    space: Space | Mapping[str, Any],
    metric: str,
    mode: Mode,
    name: str,
    storage: str | Path = DEFAULT_STORAGE,
    scheduler: Scheduler | Mapping[str, Any] | str | None = None,
    searcher: Searcher | Mapping[str, Any] | str | None = None,
    trials: int | None = None,
    seed: int = 0,
    executor: Executor | Mapping[str, Any] | str = "inline",
    budget: Budget | Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    round_size: int | Literal["all"] | None = None,
    max_concurrent: int | None = None,
    data_version: str | None = None,
    run: str | None = None,
    trigger: str = "",
    progress: bool = True,
    **options: Any,
) -> Retuned:
    """Look for a better configuration on today's data, and promote it if it is one.

    The champion is measured anew, with several seeds; a search that knows what was found before
    looks for a challenger, which is measured with the same seeds; it becomes the champion when a
    paired test says that it is better. See the documentation of retuning.

    The arguments are those of `tuneflow.tune`, with these beside them.

    Args:
        train: the objective. Its configuration has the key ``seed`` as well.
        space: see `tuneflow.tune`; so are all arguments that are not explained here.
        metric: it must be that of the line's history, and so must ``mode``.
        mode: "min" or "max".
        name: the name of the line. Where the storage has a study of this name, its best trial is
            the first champion.
        storage: where line and studies are kept.
        scheduler: its highest level is what champion and challenger are measured at.
        searcher: it learns from past results, if it learns at all.
        trials: of the search.
        seed: every random choice follows from it.
        executor: where trials run.
        budget: of the search.
        resources: of a trial.
        round_size: of the search.
        max_concurrent: of the search.
        data_version: says which data it is; only written down. Default: today, in UTC.
        run: two calls with the same run are one retune: the second goes on with the first, or
            returns its verdict. Default: ``data_version``.
        trigger: what set it off; only written down.
        progress: whether to show the live view. Default True.
        options: the fields of `tuneflow.retune.plan.Plan`: ``seeds``, ``margin``, ``confidence``,
            ``points``, ``discount``, ``defaults``, ``limits``, …

    Raises:
        SpecError: an argument cannot work; nothing has run.
        StudyConflictError: a newer retune has overtaken this one.
        TrialsFailedError: the search has found nothing, or a study was halted; the champion is
            who it was.
        KeyboardInterrupt: after Ctrl-C; the same call goes on.
    """
    objective, url = load_objective(train), Store(str(storage)).child(name).url
    plan = make_plan(
        plain_spec(
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
        ),
        options,
    )
    place = LastPlace(str(Path.cwd()), None)
    data_version = data_version or today()

    def drive_one(opened: OpenStudy) -> None:
        drive_study(opened, objective, make_executor(executor), place, progress=progress)

    return run_retune(
        url, plan, drive_one, run=run or data_version, data_version=data_version, trigger=trigger
    )


def run_retune(
    url: str,
    plan: Plan,
    drive_one: Callable[[OpenStudy], None],
    *,
    run: str,
    data_version: str,
    trigger: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Retuned:
    """Take all steps of a retune.

    Args:
        url: the line.
        plan: what to do.
        drive_one: drives a study to its end, here.
        run: see `retune`.
        data_version: see `retune`.
        trigger: see `retune`.
        say: told a sentence at each step.

    Raises see `retune`.
    """
    under_way = begin(url, plan, run=run, data_version=data_version, trigger=trigger)
    try:
        return _run(under_way, drive_one, say)
    except StudyConflictError:
        raise
    except TuneflowError as error:
        with suppress(TuneflowError):
            fail(under_way, str(error))
        raise


def _run(
    under_way: Retune, drive_one: Callable[[OpenStudy], None], say: Callable[[str], None]
) -> Retuned:
    number, known = under_way.number, under_way.verdict()
    if known is not None:
        say(f"retune {number} of this run has its verdict already; another run makes another one")
        return retuned(under_way, known)
    champion = under_way.study("champion")
    if champion is not None:
        say(f"retune {number}: measuring the champion with {under_way.plan.seeds} seeds")
        drive_one(champion)
    search = prepare_search(under_way)
    for note in under_way.notes():
        say(note)
    say(f"retune {number}: searching")
    drive_one(search)
    challenger = prepare_challenger(under_way)
    if challenger is not None:
        say(f"retune {number}: measuring the challenger with {under_way.plan.seeds} seeds")
        drive_one(challenger)
    return retuned(under_way, judge(under_way))


def retuned(under_way: Retune, verdict: Record) -> Retuned:
    """Return what a retune with a verdict has come to."""
    under_way.line.log.refresh()
    return Retuned(
        url=under_way.line.url,
        number=under_way.number,
        promoted=verdict.type == "promoted",
        reason=str(verdict.data["reason"]),
        champion=under_way.line.log.champion,
        record=verdict,
    )


def drive_study(
    opened: OpenStudy,
    objective: Objective,
    executor: Executor,
    place: LastPlace,
    *,
    progress: bool,
) -> None:
    """Drive one study of a retune to its end; a halted one goes on. Raises TrialsFailedError."""
    with live_view(opened) if progress else nullcontext() as view:
        drive(opened, objective, executor, place=place, view=view)
    if opened.history.halted is not None:
        checked(Result(opened))


def today() -> str:
    """Return today's date in UTC, such as ``2026-11-24``."""
    return datetime.now(UTC).date().isoformat()
