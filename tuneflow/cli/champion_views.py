"""What the command shows of champions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
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
    facts = [
        ("since", f"{when(made.at)} UTC, record {made.number}, {by}"),
        ("measured", f"{when(record.at)} UTC, record {record.number}, '{record.type}'"),
        ("data", champion.data_version),
        ("reason", str(record.data["reason"])),
        ("study", f"{champion.study}, trial {champion.trial}"),
        ("checkpoint", champion.checkpoint or ""),
    ]
    return [(name, said) for name, said in facts if said]


def history_table(records: Sequence[Record]) -> Table:
    """Return records, a row each."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("retune", justify="right", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("champion", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for record in records:
        table.add_row(*_cells(record))
    return table


def _cells(record: Record) -> tuple[Text, ...]:
    champion = record.champion
    return (
        Text(str(record.number)),
        Text(when(record.at)),
        Text("" if record.retune is None else str(record.retune)),
        Text(record.type.replace("_", " "), STYLES[record.type]),
        Text("" if champion is None else measured(champion)),
        Text(text.clean(_reason(record))),
    )


def _reason(record: Record) -> str:
    data = record.data
    if record.type == "began":
        told = (("run", data["run"]), ("data", data["data_version"]), ("by", data["trigger"]))
        return ", ".join(f"{name} {said}" for name, said in told if said)
    if record.type == "rolled_back":
        return f"to record {data['to']}" + (f": {data['reason']}" if data["reason"] else "")
    return str(data["reason"])


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
