"""``tuneflow drift``."""

from __future__ import annotations

from typing import Annotated

import typer

from tuneflow.cli.ending import DRIFTED
from tuneflow.cli.options import AsJson
from tuneflow.cli.output import print_json, write
from tuneflow.errors import SpecError


def drift(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A path or storage URL: a JSON object, JSON lines, or CSV with a header.",
        ),
    ],
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="The metric; dotted where it is nested.")
    ],
    below: Annotated[
        float | None,
        typer.Option(metavar="VALUE", help="Drift is a value below this.", show_default=False),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(metavar="VALUE", help="Drift is a value above this.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a metric has left its range: exit code 0 if it has not, 10 if it has."""
    from tuneflow.retune.drift import has_drifted

    try:
        found = has_drifted(file, metric, below=below, above=above)
    except SpecError as error:
        field = {"url": "FILE"}.get(error.field, f"--{error.field}")
        raise SpecError(field, error.problem, error.fix) from None
    if as_json:
        print_json(found.to_json())
    else:
        write(found.sentence)
    if found.is_drifted:
        raise typer.Exit(DRIFTED)
