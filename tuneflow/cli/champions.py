"""``tuneflow champion show``, ``history`` and ``rollback``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from tuneflow.cli.options import AsJson
from tuneflow.cli.output import print_json, show, write
from tuneflow.errors import SpecError, StudyNotFoundError

if TYPE_CHECKING:
    from tuneflow.retune.champions import Champion, ChampionLog, Record

LineUrl: TypeAlias = Annotated[
    str, typer.Argument(metavar="URL", help="The line: the storage and the name of its retunes.")
]

app = typer.Typer(
    help="Show who is the champion of a line of retunes, who was and why; or roll it back.",
    no_args_is_help=True,
)


@app.command("show")
def show_champion(
    url: LineUrl,
    as_json: AsJson = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Download the champion's checkpoint into this new or empty folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the champion: its configuration, its value, and why it is the champion."""
    from tuneflow.retune.checkpoint import download_checkpoint

    log, url = _open(url)
    record, champion = _present(log, url)
    if checkpoint is not None:
        try:
            download_checkpoint(champion, checkpoint)
        except SpecError as error:
            raise SpecError("--checkpoint", error.problem, error.fix) from None
    if as_json:
        print_json(champion_document(log, url, record))
        return
    _show(log, record, champion)
    if checkpoint is not None:
        write(f"checkpoint: {checkpoint}")


@app.command()
def history(url: LineUrl, as_json: AsJson = False) -> None:
    """List every retune that began, promotion, refusal, failure and rollback, the newest last."""
    from tuneflow.cli.champion_views import history_view

    log, _ = _open(url)
    if as_json:
        print_json([record.to_json() for record in log.records])
    else:
        show(history_view(log.records))


@app.command()
def rollback(
    url: LineUrl,
    to: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="The record, as history numbers them, whose champion comes back. Default: the "
            "champion before the present one.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for the record.", show_default=False)
    ] = "",
) -> None:
    """Make an earlier champion the champion again; a retune under way cannot change that."""
    from tuneflow.cli.champion_views import measured
    from tuneflow.views import text

    log, url = _open(url)
    under_way = log.under_way
    try:
        record = log.roll_back(to, reason)
    except SpecError as error:
        raise SpecError(f"--{error.field}", error.problem, error.fix) from None
    _, champion = _present(log, url)
    write(f"the champion is that of record {record.data['to']} again:")
    config = text.config(dict(champion.config))
    write(f"  {text.clean(champion.metric)} {measured(champion)}  {config}")
    if under_way is not None:
        write(f"retune {under_way.retune}, which is under way, will not change it")


def _open(url: str) -> tuple[ChampionLog, str]:
    """Return the log of a line that has one, and the line's full URL."""
    from tuneflow.retune.champions import ChampionLog
    from tuneflow.store import Store

    store = Store(url)
    log = ChampionLog(store).read()
    if not log.records:
        raise StudyNotFoundError(
            f"there is no champion at {store.url}, and no retune has begun there; the URL of a "
            "line is its storage and its name, such as ./tuneflow-results/digits"
        )
    return log, store.url


def _present(log: ChampionLog, url: str) -> tuple[Record, Champion]:
    record = log.champion_record
    champion = log.champion
    if record is None or champion is None:
        newest = log.records[-1]
        said = f"record {newest.number} is '{newest.type}'"
        raise SpecError("URL", f"{url} has no champion yet: the newest, {said}")
    return record, champion


def champion_document(log: ChampionLog, url: str, record: Record) -> dict[str, Any]:
    """Return who is the champion, as JSON.

    Its keys: ``url``; ``record``, the number of the newest record that says so, with its ``type``,
    ``at`` and ``reason``; ``since``, when it was promoted; ``champion``, as records have it;
    ``under_way``, the retune that has begun and not ended, or None.
    """
    under_way = log.under_way
    return {
        "url": url,
        "record": record.number,
        "type": record.type,
        "at": record.at,
        "reason": record.data["reason"],
        "since": log.made_by(record).at,
        "champion": record.data["champion"],
        "under_way": under_way.to_json() if under_way is not None else None,
    }


def _show(log: ChampionLog, record: Record, champion: Champion) -> None:
    from tuneflow.cli.champion_views import champion_panel, when

    show(champion_panel(champion, record, log.made_by(record)))
    under_way = log.under_way
    if under_way is not None:
        run = f"run {under_way.data['run']}"
        write(f"retune {under_way.retune} ({run}) is under way since {when(under_way.at)} UTC")
