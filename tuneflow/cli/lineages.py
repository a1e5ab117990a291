"""``tuneflow lineage``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneflow.cli.options import AsJson, StudyUrl
from tuneflow.cli.output import print_json, show, write
from tuneflow.errors import SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from tuneflow.schedulers.lineage import Step


def lineage(
    url: StudyUrl,
    *,
    trial: Annotated[
        int | None,
        typer.Option(metavar="N", help="Which trial. Default: the best.", show_default=False),
    ] = None,
    as_yaml: Annotated[
        bool,
        typer.Option("--yaml", help="Write the scheduler block of a study file that repeats it."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which configurations made a trial of a PBT study, from its beginning on."""
    from tuneflow.opened import OpenStudy
    from tuneflow.schedulers.lineage import lineage as steps_of
    from tuneflow.schedulers.lineage import schedule_of

    try:
        steps = steps_of(OpenStudy.open(url).history, trial)
    except SpecError as error:
        raise SpecError("--trial", error.problem, error.fix) from None
    if as_json:
        print_json(schedule_of(steps))
    elif as_yaml:
        write(_block(schedule_of(steps)))
    else:
        show(_table(steps))


def _block(schedule: Sequence[dict[str, Any]]) -> str:
    import yaml

    block = {"scheduler": {"type": "pbt_replay", "schedule": schedule}}
    # Flow style for what is innermost keeps a step on two lines.
    text = yaml.safe_dump(block, sort_keys=False, default_flow_style=None, allow_unicode=True)
    return text.rstrip("\n")


def _table(steps: Sequence[Step]) -> Table:
    from rich.table import Table

    from tuneflow.views.text import config

    table = Table(box=None, pad_edge=False)
    for name in ("from", "until", "trial"):
        table.add_column(name, justify="right")
    table.add_column("configuration")
    begins = [0, *(step.until for step in steps)]
    for begin, step in zip(begins, steps, strict=False):
        table.add_row(f"{begin:g}", f"{step.until:g}", str(step.trial), config(step.params))
    return table
