"""``tuneflow trials`` and ``tuneflow logs``."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneflow.cli.options import AsJson, StudyUrl
from tuneflow.cli.output import print_json, say, show
from tuneflow.errors import SpecError, did_you_mean

if TYPE_CHECKING:
    from tuneflow.opened import OpenStudy
    from tuneflow.trial import Trial

Row = dict[str, Any]


def trials(
    url: StudyUrl,
    *,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout.")] = False,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only trials in this state. May be repeated."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="A column of the JSON form; 'value' puts the best first, '-COLUMN' turns round.",
        ),
    ] = "trial",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """List the trials of a study."""
    from tuneflow.convert import rows
    from tuneflow.opened import OpenStudy
    from tuneflow.views.terminal import trials_table

    opened = OpenStudy.open(url)
    study, history = opened.study, opened.history
    table = _of_states(rows(study, history), state or ())
    table = _sorted(table, sort, best_is_high=study.mode == "max")[:limit]
    if as_json:
        print_json(table)
    elif as_csv:
        _write_csv(table)
    else:
        show(trials_table(study, history, [history.trials[row["trial"]] for row in table]))


def _of_states(table: list[Row], states: Sequence[str]) -> list[Row]:
    from tuneflow.trial import TrialState

    known = [state.value for state in TrialState]
    for state in states:
        if state not in known:
            raise SpecError("--state", f"'{state}' is no state", did_you_mean(state, known))
    return [row for row in table if not states or row["state"] in states]


def _sorted(table: list[Row], sort: str, *, best_is_high: bool) -> list[Row]:
    """Sort rows by a column; those that have nothing there come last.

    By value, trials that break a bound come after those that keep all: they are never the best.
    """
    column = sort.removeprefix("-")
    known = dict.fromkeys(name for row in table for name in row)
    if table and column not in known:
        raise SpecError("--sort", f"there is no column '{column}'", did_you_mean(column, known))
    backwards = sort.startswith("-") != (column == "value" and best_is_high)
    have = [row for row in table if row.get(column) is not None]
    have.sort(key=_key(have, column), reverse=backwards)
    if column == "value":
        have.sort(key=lambda row: row.get("feasible") is False, reverse=sort.startswith("-"))
    return have + [row for row in table if row.get(column) is None]


def _key(table: Iterable[Row], column: str) -> Callable[[Row], Any]:
    """Return a sort key: numbers by size, NaN as the largest; anything else by its text."""
    numeric = all(isinstance(_number(row[column]), float) for row in table)

    def key(row: Row) -> Any:
        return _number(row[column]) if numeric else str(row[column])

    return key


def _number(value: Any) -> float | None:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        return None
    if not isinstance(value, int | float | str):
        return None
    number = float(value)
    return math.inf if math.isnan(number) else number


def _write_csv(table: list[Row]) -> None:
    from tuneflow.convert.tables import write_rows

    write_rows(table, sys.stdout)


def logs(
    url: StudyUrl,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="The number of the trial.")],
    segment: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only this segment. Default: all.", show_default=False),
    ] = None,
) -> None:
    """Print what a trial wrote to stdout and stderr, and the traceback if it failed."""
    from tuneflow.opened import OpenStudy

    opened = OpenStudy.open(url)
    found = _trial(opened, trial)
    numbers = range(found.segment + 1) if segment is None else [segment]
    if segment is not None and not 0 <= segment <= found.segment:
        problem = f"trial {trial} has no segment {segment}"
        raise SpecError("--segment", problem, f"it has 0 to {found.segment}")
    texts = {number: _log(opened, trial, number) for number in numbers}
    _print_logs({number: text for number, text in texts.items() if text})
    if not any(texts.values()):
        say(f"trial {trial} has no log: it printed nothing, or its worker could not store it")


def _trial(opened: OpenStudy, number: int) -> Trial:
    known = opened.history.trials
    if not 0 <= number < len(known):
        there = f"it has 0 to {len(known) - 1}" if known else "it has none yet"
        raise SpecError("TRIAL", f"the study has no trial {number}", there)
    return known[number]


def _log(opened: OpenStudy, trial: int, segment: int) -> str:
    """Return a segment's output, and its traceback unless the output ends with it."""
    from tuneflow.outcomes import read_outcome
    from tuneflow.trial import log_path, outcome_path

    path = outcome_path(trial, segment)
    output, data = opened.store.get_many([log_path(trial, segment), path])
    text = (output or b"").decode(errors="replace").rstrip("\n")
    failure = read_outcome(data, path).failure if data is not None else None
    if failure is None:
        return text
    reason = failure.traceback.strip("\n") or str(failure)
    return text if reason in text else f"{text}\n{reason}".lstrip("\n")


def _print_logs(texts: dict[int, str]) -> None:
    for number, text in texts.items():
        if len(texts) > 1:
            sys.stdout.write(f"==> segment {number} <==\n")
        sys.stdout.write(f"{text}\n")
