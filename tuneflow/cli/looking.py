"""``tuneflow status``, ``watch`` and ``best``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from tuneflow.cli.documents import best_document, status_document
from tuneflow.cli.options import AsJson, StudyUrl
from tuneflow.cli.output import console, print_json, say, show, write
from tuneflow.errors import SpecError


def status(url: StudyUrl, as_json: AsJson = False) -> None:
    """Say where a study stands."""
    from tuneflow.opened import OpenStudy
    from tuneflow.views.terminal import failures_view, rungs_table, status_table

    opened = OpenStudy.open(url)
    if as_json:
        print_json(status_document(opened))
        return
    study, history = opened.study, opened.history
    show(
        status_table(study, history, opened.url),
        rungs_table(study, history),
        failures_view(history, opened.url),
    )


def watch(
    url: StudyUrl,
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at the storage.")
    ] = 2.0,
) -> None:
    """Show a study that runs elsewhere until it is over; Ctrl-C ends the watching only."""
    from tuneflow.opened import OpenStudy
    from tuneflow.views.terminal import LiveView

    opened = OpenStudy.open(url)
    try:
        say(f"watching {opened.url}; Ctrl-C ends the watching only")
        with LiveView(opened.study, opened.url, console()) as view:
            view(opened.history, ())
            while opened.history.state not in ("finished", "halted"):
                time.sleep(interval)
                view(opened.history, opened.refresh())
    except KeyboardInterrupt:
        say("the study itself goes on")


def best(
    url: StudyUrl,
    as_json: AsJson = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Download the checkpoint of the best trial into this new or empty folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the best trial and its configuration."""
    from tuneflow.opened import OpenStudy
    from tuneflow.result import Result
    from tuneflow.views.terminal import best_panel

    opened = OpenStudy.open(url)
    result = Result(opened)
    trial = result.best_trial
    if checkpoint is not None:
        if trial.checkpoint is None:
            raise SpecError("--checkpoint", f"trial {trial.number} has saved no checkpoint")
        result.checkpoint(trial, checkpoint)
    if as_json:
        print_json(best_document(opened))
        return
    show(best_panel(opened.study, opened.history))
    if checkpoint is not None:
        write(f"checkpoint: {checkpoint}")
