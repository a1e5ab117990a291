"""``tuneflow gc``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tuneflow.cli.options import AsJson, StudyUrl
from tuneflow.cli.output import print_json, show, write
from tuneflow.errors import SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from tuneflow.checkpointing import Keep
    from tuneflow.collecting import Collection
    from tuneflow.opened import OpenStudy

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def gc(
    url: StudyUrl,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Touch nothing, and say what would be removed.")
    ] = False,
    keep_last: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Keep the newest N checkpoints of each trial. Default: what the study says.",
            show_default=False,
        ),
    ] = None,
    keep_best: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Keep the N best checkpoints of the study. Default: what the study says.",
            show_default=False,
        ),
    ] = None,
    keep_ref: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URI",
            help="Keep this checkpoint, which something elsewhere refers to. May be repeated.",
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Remove what belongs to no checkpoint only if it is so old, such as 90m or 2d. "
            "Default: 1h, which is the least; 0 for a study that is finished.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove checkpoints that nobody needs, and what killed processes left behind.

    What running, paused and failed trials may go on from stays, and so does the newest checkpoint
    of the best trial, and what champions refer to. A study may run meanwhile.
    """
    from tuneflow.collecting import collect
    from tuneflow.opened import OpenStudy

    age = None if older_than is None else _seconds(older_than)
    opened = OpenStudy.open(url)
    done = collect(
        opened,
        keep=_keep(opened, keep_last, keep_best),
        older_than=age,
        keep_refs=keep_ref or (),
        dry_run=dry_run,
    )
    if as_json:
        print_json(done.to_json())
        return
    show(_removed(done), _kept(done))
    write(f"{'would free' if done.dry_run else 'freed'} {_size(done.freed)}")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise SpecError("--older-than", f"'{text}' is no time", "write 5400, 90m, 1h or 2d")
    return float(found[1]) * _UNITS[found[2]]


def _keep(opened: OpenStudy, last: int | None, best: int | None) -> Keep:
    """Return what the study says, with what is said here in its place."""
    given = {name: value for name, value in (("last", last), ("best", best)) if value is not None}
    return replace(opened.study.checkpoints.keep, **given)


def _removed(done: Collection) -> Table:
    """Return what was removed, or would be, as a table."""
    table = _table("would be removed" if done.dry_run else "removed", "size")
    for what, count, size in _rows(done):
        if count:
            table.add_row(what, f"{count:,}", size)
    if done.is_empty:
        table.add_row("nothing", "", "")
    return table


def _rows(done: Collection) -> Iterator[tuple[str, int, str]]:
    yield "checkpoints that are not needed any more", len(done.superseded), ""
    yield "checkpoints that nobody knows of", len(done.stray), ""
    yield "files of no checkpoint", len(done.blobs), _size(sum(done.blobs.values()))
    yield "files that killed processes left", done.staged, ""
    waiting = _size(sum(done.waiting.values()))
    yield "later: files of no checkpoint that are too young", len(done.waiting), waiting


def _kept(done: Collection) -> Table | None:
    """Return how many checkpoints are kept for which reason."""
    if not done.kept:
        return None
    table = _table("kept", "size")
    for why, count in Counter(done.kept.values()).most_common():
        table.add_row(f"checkpoints: {why}", f"{count:,}", "")
    if done.damaged:
        table.add_row("of which cannot be read", f"{len(done.damaged):,}", "")
    table.add_row("in all", f"{len(done.kept):,}", _size(done.kept_bytes))
    return table


def _table(title: str, last: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column(title)
    table.add_column("count", justify="right")
    table.add_column(last, justify="right")
    return table


def _size(size: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
