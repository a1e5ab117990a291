"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

StudyUrl: TypeAlias = Annotated[
    str, typer.Argument(metavar="URL", help="The study: its storage and its name.")
]
StudyPath: TypeAlias = Annotated[Path, typer.Argument(metavar="STUDY.YAML", help="The study file.")]
Storage: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A folder, or an s3://, gs:// or az:// URL. Default: what the file says, else "
        "./tuneflow-results.",
        show_default=False,
    ),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the file, such as --set scheduler.max_resource=27. May be repeated.",
    ),
]
ExecutorName: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="Where trials run: inline, dask, … Overrides the file."),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write one JSON document to stdout.")
]
ShowProgress: TypeAlias = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show the study while it runs, on stderr.")
]
RetryFailed: TypeAlias = Annotated[
    bool, typer.Option("--retry-failed", help="Try the trials that failed again.")
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The Dask scheduler, such as tcp://10.0.0.5:8786. Default: that of the file, or of "
        "the last run.",
        show_default=False,
    ),
]
TlsCaFile: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="For tls://: the certificate authority.", show_default=False),
]
TlsCertFile: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="For tls://: this client's certificate.", show_default=False),
]
TlsKeyFile: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="For tls://: this client's key.", show_default=False),
]
