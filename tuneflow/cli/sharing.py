"""``tuneflow report`` and ``tuneflow export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneflow.cli.options import StudyUrl
from tuneflow.cli.output import say
from tuneflow.errors import SpecError

if TYPE_CHECKING:
    from tuneflow.opened import OpenStudy

_FORMS = ("optuna:URL", "csv:PATH", "parquet:PATH")


def report(
    url: StudyUrl,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="The file to write.")
    ] = Path("report.html"),
) -> None:
    """Write a report of a study as one HTML file, which opens offline."""
    from tuneflow.opened import OpenStudy
    from tuneflow.views.html import write_report

    write_report(OpenStudy.open(url), output)
    say(f"wrote {output}")


def export(
    url: StudyUrl,
    to: Annotated[str, typer.Option(metavar="FORM", help=f"One of {', '.join(_FORMS)}.")],
) -> None:
    """Write the trials of a study in the form of another tool."""
    from tuneflow.opened import OpenStudy

    form, _, target = to.partition(":")
    if form not in ("optuna", "csv", "parquet") or not target:
        raise SpecError("--to", f"'{to}' is no form to export to", f"use {', '.join(_FORMS)}")
    _export(OpenStudy.open(url), form, target)
    count = "" if form == "optuna" else f" {target}"
    say(f"wrote the trials to {form}{count}")


def _export(opened: OpenStudy, form: str, target: str) -> None:
    from tuneflow.convert import to_optuna, write_csv, write_parquet

    study, history = opened.study, opened.history
    if form == "csv":
        write_csv(study, history, target)
    elif form == "parquet":
        write_parquet(study, history, target)
    else:
        to_optuna(study, history, target)
