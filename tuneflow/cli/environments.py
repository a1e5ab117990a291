"""``tuneflow environments list``, ``make`` and ``remove``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneflow.cli.options import AsJson, Settings, StudyPath
from tuneflow.cli.output import print_json, show, write
from tuneflow.errors import SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from tuneflow.environments.cache import Cached

app = typer.Typer(
    help="Show, make or remove the environments that libraries of searchers have to themselves.",
    no_args_is_help=True,
)


@app.command("list")
def list_environments(as_json: AsJson = False) -> None:
    """List every environment: its key, whose it is, its size, and when it was used last."""
    from tuneflow.environments.cache import cache_folder, cached

    found = [_document(place) for place in cached()]
    if as_json:
        print_json(found)
    elif found:
        show(_table(found))
    else:
        write(f"there are no environments in {cache_folder()}")


@app.command()
def make(study: StudyPath, *, settings: Settings = None) -> None:
    """Make what the searcher of a study needs, ahead of time: in the build of an image, say."""
    from tuneflow.study_file import load_study_file

    searcher = load_study_file(study, settings or ()).study.searcher
    searcher.prepare()
    write(f"'{searcher.type}' has all that it needs")


@app.command()
def remove(
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]…", help="Keys of environments, or their beginnings.", show_default=False
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Remove them all.")] = False,
) -> None:
    """Remove environments that nobody uses at present. They are made again when needed."""
    from tuneflow.environments.cache import cached
    from tuneflow.environments.cache import remove as remove_one

    if bool(keys) == everything:
        raise SpecError("KEY", "nothing says which environments", "give keys, or --all")
    for key in keys or [place.folder.name for place in cached()]:
        write(f"removed {remove_one(key)}")


def _document(place: Cached) -> dict[str, Any]:
    found = place.describe() or {"library": None, "python": None, "used": None}
    return {"key": place.folder.name, **found, "bytes": place.size(), "folder": str(place.folder)}


def _table(found: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    from tuneflow.views.text import clean

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    for name in ("key", "library", "Python", "MB", "last used", "packages"):
        table.add_column(name, justify="right" if name == "MB" else "left")
    for one in found:
        packages = [*one.get("build", ()), *one.get("requirements", ()), *one.get("no_deps", ())]
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one["used"])) if one["used"] else "-"
        table.add_row(
            one["key"],
            clean(one["library"] or "not made to its end"),
            one["python"] or "-",
            f"{one['bytes'] / 1e6:.0f}",
            used,
            clean(" ".join(packages)),
        )
    return table
