"""The commands, put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tuneflow.cli import (
    champions,
    checking,
    collecting,
    drifting,
    environments,
    lineages,
    looking,
    retuning,
    running,
    sharing,
    submitting,
    trials,
)
from tuneflow.cli.ending import DEBUG, EXIT_CODES, fail

_HELP = "Tune hyperparameters: run a study from a file, resume it, and look at what it found."
_CODES = ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
_COMMANDS = {
    "Run": (running.run, running.resume, checking.validate),
    "Dask": (submitting.submit, submitting.cancel),
    "Look": (
        looking.status,
        looking.watch,
        looking.best,
        trials.trials,
        trials.logs,
        lineages.lineage,
    ),
    "Retune": (retuning.retune, drifting.drift),
    "Share": (sharing.report, sharing.export),
    "Clean up": (collecting.gc,),
    "Other": (checking.version,),
}

app = typer.Typer(
    name="tuneflow",
    help=_HELP,
    epilog=f"Exit codes: {_CODES}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(champions.app, name="champion", rich_help_panel="Retune")
app.add_typer(environments.app, name="environments", rich_help_panel="Other")


@app.callback()
def _options(
    debug: Annotated[
        bool,
        typer.Option("--debug", help=f"Show the traceback of an error, as {DEBUG}=1 does."),
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the name of the program. Default: those of this process.

    Returns:
        The exit code; see `tuneflow.cli.ending.EXIT_CODES`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    run: Any = app
    try:
        code = int(run(given, prog_name="tuneflow", standalone_mode=False) or 0)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last place where anything can be caught
        return fail(error, as_json="--json" in given)
    # Typer has made this of Ctrl-C, without a word.
    return fail(KeyboardInterrupt(), as_json="--json" in given) if code == 130 else code
