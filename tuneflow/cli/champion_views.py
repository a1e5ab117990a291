"""What the command shows of champions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tuneflow.convert import flatten
from tuneflow.views import text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tuneflow.retune.champions import Champion, Record

STYLES = {
    "began": "cyan",
    "promoted": "bold green",
    "kept": "blue",
    "failed": "red",
    "rolled_back": "yellow",
}


def measured(champion: Champion) -> str:
    """Return a champion's value with its standard error, as far as it has one."""
    error = champion.standard_error
    return text.number(champion.value) + (f" ± {text.number(error, 2)}" if error else "")


def when(at: str) -> str:
    """Return the time of a record, to the minute."""
    return at[:16].replace("T", " ")


def champion_panel(champion: Champion, record: Record, made: Record) -> RenderableType:
    """Return a champion with its configuration, one parameter a line.

    Args:
        champion: the champion.
        record: the newest record that has it.
        made: the record of its promotion.
    """
    table = _grid()
    for name, value in flatten(dict(champion.config)).items():
        table.add_row(Text(text.clean(name), "cyan"), Text(text.parameter(value)))
    for name, said in _facts(champion, record, made):
        table.add_row(Text(name, "dim"), Text(text.clean(said), "dim"))
    title = Text(f"champion: {text.clean(champion.metric)} ").append(
        measured(champion), "bold green"
    )
    seeds = sum(map(math.isfinite, champion.values))
    title.append(f" with {text.plural(seeds, 'seed')} at {text.number(champion.resource)}")
    return Panel(table, title=title, title_align="left", box=box.ROUNDED, expand=False)


def _facts(champion: Champion, record: Record, made: Record) -> Sequence[tuple[str, str]]:
    by = f"by retune {champion.retune}" if champion.retune else "the best of a study"
    newest = f"{when(record.at)} UTC, record {record.number}"
    facts = [
        ("since", f"{when(made.at)} UTC, record {made.number}, {by}"),
        ("measured", newest if record.type == "kept" else ""),
        ("back since", newest if record.type == "rolled_back" else ""),
        ("data", champion.data_version),
        ("reason", str(record.data["reason"])),
        ("study", f"{champion.study}, trial {champion.trial}"),
        ("checkpoint", champion.checkpoint or ""),
    ]
    return [(name, said) for name, said in facts if said]


def history_view(records: Sequence[Record]) -> RenderableType:
    """Return records, one after the other, each with its reason below it.

    A column for reasons would be too narrow to be read in a terminal of 80 columns.
    """
    lines: list[RenderableType] = [Text(_HEAD, "dim")]
    for record in records:
        reason = Text(text.clean(_reason(record)), "dim", overflow="fold")
        lines += [_line(record), Padding(reason, (0, 0, 0, 7), expand=False)]
    return Group(*lines)


_HEAD = "  no.  time (UTC)        retune  what         champion"


def _line(record: Record) -> Text:
    champion = record.champion
    retune = "" if record.retune is None else str(record.retune)
    line = Text(f"{record.number:5}  {when(record.at)}  {retune:>6}  ", no_wrap=True)
    line.append(f"{record.type.replace('_', ' '):11}  ", STYLES[record.type])
    return line.append("" if champion is None else measured(champion))


def _reason(record: Record) -> str:
    data = record.data
    if record.type == "began":
        run, version = data["run"], data["data_version"]
        told = (("run", run), ("data", version if version != run else ""), ("by", data["trigger"]))
        return ", ".join(f"{name} {said}" for name, said in told if said)
    if record.type == "rolled_back":
        return f"to record {data['to']}" + (f": {data['reason']}" if data["reason"] else "")
    return str(data["reason"])


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
