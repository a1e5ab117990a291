"""``tuneflow submit`` and ``cancel``."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneflow.cli.documents import status_document
from tuneflow.cli.ending import StudyInterruptedError
from tuneflow.cli.options import (
    Address,
    AsJson,
    RetryFailed,
    Settings,
    ShowProgress,
    Storage,
    StudyPath,
    StudyUrl,
    TlsCaFile,
    TlsCertFile,
    TlsKeyFile,
)
from tuneflow.cli.output import print_json, say, without_logs, write
from tuneflow.cli.running import conclude, watched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuneflow.executors.dask import DaskExecutor
    from tuneflow.opened import OpenStudy
    from tuneflow.remote.cancelling import Cancelled
    from tuneflow.remote.submission import Submission
    from tuneflow.study_file import StudyFile


def submit(
    study: StudyPath,
    *,
    address: Address = None,
    storage: Storage = None,
    settings: Settings = None,
    upload: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A .py file, a package's folder or an archive that workers need to import. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return as soon as the study runs on the cluster.")
    ] = False,
    retry_failed: RetryFailed = False,
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
    as_json: AsJson = False,
    progress: ShowProgress = True,
) -> None:
    """Have the study of a file driven by a Dask cluster, and watch it; Ctrl-C ends the watching."""
    from tuneflow.api import DEFAULT_STORAGE
    from tuneflow.last_place import LastPlace
    from tuneflow.opened import OpenStudy
    from tuneflow.remote.code import Code
    from tuneflow.remote.place import address_of
    from tuneflow.remote.submission import How
    from tuneflow.remote.submission import submit as give
    from tuneflow.remote.upload import Upload
    from tuneflow.study_file import load_study_file

    file = load_study_file(study, settings or (), "dask")
    executor = _executor(file, _given(address, tls_ca_file, tls_cert_file, tls_key_file))
    if file.trackers:
        say("the trackers of the file are left out: the driver is on another machine")
    kept = storage or file.storage or DEFAULT_STORAGE
    with without_logs(), _interruptible(file, kept):
        made = give(
            file.study,
            kept,
            Code.of(file.study.objective, file.folder),
            address_of(executor),
            place=LastPlace(str(file.folder), trackers=file.trackers),
            how=How.of(executor),
            uploads=[Upload.of(path) for path in upload or ()],
            retry_failed=retry_failed,
        )
    if detach:
        _hand_over(made, as_json)
        return
    _attend(made, OpenStudy.open(made.url), progress, as_json)


def cancel(
    url: StudyUrl,
    *,
    address: Address = None,
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """End the driver and the trials of a study on a Dask cluster; it can be gone on with."""
    from tuneflow.last_place import LastPlace
    from tuneflow.opened import OpenStudy
    from tuneflow.remote.cancelling import cancel as end
    from tuneflow.remote.place import last_address

    opened = OpenStudy.open(url)
    given = _given(address, tls_ca_file, tls_cert_file, tls_key_file)
    where = last_address(opened.url, LastPlace.recall(opened.store), given)
    with without_logs():
        ended = end(opened, where)
    opened.refresh()
    if as_json:
        print_json({**status_document(opened), "cancelled": ended.to_json()})
        return
    write(_said(ended, opened.url, where.address))
    if ended.drivers or ended.trials:
        write(f"  tuneflow resume {shlex.quote(opened.url)}")


def _given(
    address: str | None, ca_file: str | None, cert_file: str | None, key_file: str | None
) -> dict[str, str]:
    """Return what the command line says of where the cluster is."""
    files = {"tls_ca_file": ca_file, "tls_cert_file": cert_file, "tls_key_file": key_file}
    given = {name: str(Path(file).absolute()) for name, file in files.items() if file is not None}
    return given if address is None else {**given, "address": address}


def _executor(file: StudyFile, given: Mapping[str, str]) -> DaskExecutor:
    """Return the executor of the file, at the address that is given. Raises SpecError."""
    from tuneflow.driving import make_executor
    from tuneflow.errors import SpecError

    kind = file.executor.get("type", "dask")
    if kind != "dask":
        raise SpecError("executor", f"{kind!r} is no Dask cluster", "leave it out")
    executor: Any = make_executor({**file.executor, **given})
    if executor.address is None:
        raise SpecError(
            "--address",
            "it is not said which Dask cluster is meant",
            "give its scheduler's address, such as --address tcp://10.0.0.5:8786",
        )
    made: DaskExecutor = executor
    return made


@contextmanager
def _interruptible(file: StudyFile, storage: str) -> Iterator[None]:
    """Say on Ctrl-C that it may have come too late."""
    from tuneflow.store import Store

    try:
        yield
    except KeyboardInterrupt:
        url = Store(storage).child(file.study.name).url
        raise StudyInterruptedError(
            "interrupted; should the cluster have been given the study, it goes on. See: "
            f"tuneflow status --driver {shlex.quote(url)}",
            {"url": url},
        ) from None


def _hand_over(made: Submission, as_json: bool) -> None:
    """Say where the study is now, and how to look at it."""
    if as_json:
        print_json(
            {
                "url": made.url,
                "address": made.address.address,
                "dashboard": made.dashboard or None,
                "state": made.state,
            }
        )
        return
    say(_standing(made))
    write(_what_next(made))


def _what_next(made: Submission) -> str:
    quoted = shlex.quote(made.url)
    lines = [f"study: {made.url}", *([f"dask:  {made.dashboard}"] if made.dashboard else ())]
    lines += [f"  tuneflow {command} {quoted}" for command in ("watch", "status", "cancel")]
    return "\n".join(lines)


def _standing(made: Submission) -> str:
    cluster = f"the Dask cluster at {made.address.address}"
    return {
        "begun": f"the study runs on {cluster}",
        "attached": f"the study runs on {cluster} already, as it was submitted earlier",
        "waiting": f"the study was given to {cluster}; it begins as soon as a worker is free",
        "finished": "the study has finished already",
    }[made.state]


def _attend(made: Submission, opened: OpenStudy, progress: bool, as_json: bool) -> None:
    """Watch a study to its end, and end as a run of it does."""
    from tuneflow.remote.cluster import OrderCancelledError
    from tuneflow.remote.watching import follow

    hint = "" if made.state == "finished" else "; Ctrl-C ends the watching only"
    say(f"{_standing(made)}{hint}")
    try:
        with (
            without_logs(),
            watched(opened, progress, as_json, is_driven_here=False) as view,
        ):
            follow(made, opened, view=view, tell=say)
    except KeyboardInterrupt:
        if not as_json:
            write(_what_next(made))
        sentence = f"no longer watching; the study goes on at {made.address.address}"
        raise StudyInterruptedError(sentence, status_document(opened)) from None
    except OrderCancelledError as error:
        raise StudyInterruptedError(str(error), status_document(opened)) from None
    conclude(opened, as_json)


def _said(ended: Cancelled, url: str, address: str) -> str:
    if not ended.drivers and not ended.trials:
        return f"nothing to cancel: the Dask cluster at {address} does nothing for {url}"
    what = "the driver" if ended.drivers else f"{ended.trials} trials"
    if ended.still_running:
        workers = ", ".join(ended.still_running)
        return f"{what} of {url} was told to end, and does at the next report (on {workers})"
    return f"{what} of {url} has ended; go on with it by submitting it again, or:"
