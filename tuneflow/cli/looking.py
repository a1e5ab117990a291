"""``tuneflow status``, ``watch`` and ``best``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneflow.cli.documents import best_document, status_document
from tuneflow.cli.options import AsJson, StudyUrl
from tuneflow.cli.output import console, print_json, say, show, without_logs, write
from tuneflow.errors import SpecError

if TYPE_CHECKING:
    from tuneflow.last_place import LastPlace
    from tuneflow.opened import OpenStudy


def status(
    url: StudyUrl,
    as_json: AsJson = False,
    driver: Annotated[
        bool,
        typer.Option("--driver", help="Ask its Dask cluster, too, whether a driver of it lives."),
    ] = False,
) -> None:
    """Say where a study stands."""
    from tuneflow.last_place import LastPlace
    from tuneflow.opened import OpenStudy
    from tuneflow.views.terminal import failures_view, rungs_table, status_table

    opened = OpenStudy.open(url)
    place = LastPlace.recall(opened.store)
    more = {"driver": _driver(opened, place)} if driver else {}
    if as_json:
        print_json({**status_document(opened), **more})
        return
    study, history = opened.study, opened.history
    show(
        status_table(study, history, opened.url, {**_ran_on(place), **more}),
        rungs_table(study, history),
        failures_view(history, opened.url),
    )


def _ran_on(place: LastPlace | None) -> dict[str, str]:
    """Return where a study ran last, where that was written down."""
    executor = place.executor if place else None
    if executor is None:
        return {}
    parts = [str(executor.get("type")), str(executor.get("address", ""))]
    return {"ran on": " ".join(part for part in parts if part)}


def _driver(opened: OpenStudy, place: LastPlace | None) -> str:
    """Say whether a driver of a study lives on the cluster that it was given to."""
    from tuneflow.errors import TuneflowError
    from tuneflow.remote.cancelling import driver_of
    from tuneflow.remote.cluster import Cluster
    from tuneflow.remote.place import last_address

    try:
        address = last_address(opened.url, place)
        with without_logs(), Cluster(address, None) as cluster:
            worker = driver_of(cluster, opened.url)
    except TuneflowError as error:
        return f"not known: {error}"
    if worker is None:
        return f"none on the Dask cluster at {address.address}"
    return f"on the Dask worker {worker}" if worker else "waits for a Dask worker"


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
        with LiveView(opened.study, opened.url, console(), is_driven_here=False) as view:
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
    """Show the best trial and its configuration; of several metrics, the Pareto front."""
    from tuneflow.opened import OpenStudy
    from tuneflow.result import Result
    from tuneflow.views.terminal import best_panel, front_table

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
    show(
        front_table(opened.study, opened.history),
        best_panel(opened.study, opened.history),
    )
    if checkpoint is not None:
        write(f"checkpoint: {checkpoint}")
