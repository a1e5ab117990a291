"""What people see of a study in Prefect: progress, trials, the best configuration, the report.

Each flow run has one artifact of each kind. Their keys carry a name, so that the runs of one study
are one history on Prefect's page of artifacts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from tuneflow.opened import OpenStudy
from tuneflow.pipeline.stage_result import StageResult
from tuneflow.prefect.kept import KeptArtifacts, key_of
from tuneflow.prefect.markdown import escaped, link_target
from tuneflow.prefect.pages import (
    best_caption,
    best_page,
    summary,
    trials_caption,
    trials_json,
)
from tuneflow.prefect.stored_report import StoredReport
from tuneflow.views.progress import share_done

_PAUSE = 2.0
"""Seconds between two updates of the progress."""

_RESULTS_PAUSE = 5.0
"""Seconds between two updates of the trials and the best of them, which take two requests."""

_RESPITE = 60.0
"""Seconds that what could not be kept is left alone: Prefect's client may take as long to fail."""


class Artifacts:
    """Keeps the artifacts of a study in a flow run, from within the flow.

    What cannot be kept is a warning in the flow's log, once for each kind: a study goes on without
    what is shown of it.

    Args:
        opened: the study, which is refreshed where it has to be.
        name: what the keys carry. Default: the study's name. Where each flow run makes a study of
            its own, a name that they share makes one history of them.
        storage: where what has this name is kept. Default: the study's storage.
        report_base: where a browser finds the storage; see
            `tuneflow.prefect.stored_report.StoredReport`.
    """

    def __init__(
        self,
        opened: OpenStudy,
        *,
        name: str | None = None,
        storage: str | None = None,
        report_base: str | None = None,
    ) -> None:
        self._opened = opened
        self._base = report_base
        place, _, own = opened.url.rpartition("/")
        self._kept = KeptArtifacts(key_of(name or unquote(own), storage or place))
        self._report: StoredReport | None = None
        self._next_progress = 0.0
        self._next_results = 0.0
        self._failed: dict[str, float] = {}

    def began(self) -> None:
        """Show that a run has begun, and what there is of the study already."""
        self._try("progress", lambda: self._keep_progress(self._share(), "begun"))
        if self._opened.history.trials:
            self._keep_results()
        self._try("report", self._begin_report)

    def progress(self, done: int, expected: int | None, said: str) -> None:
        """Show how far it is; at most every two seconds, whatever it is called with.

        Args:
            done: how many segments are through.
            expected: how many there will be, or None where nobody knows.
            said: the same as a line for people.
        """
        if time.monotonic() < self._next_progress:
            return
        share = done / expected if expected else 0.0
        self._try("progress", lambda: self._keep_progress(share, said))

    def round_closed(self, result: StageResult) -> None:
        """Show the trials and the best of them after a round, unless that was done a moment ago."""
        del result  # What counts is the whole study, and not the round alone.
        if time.monotonic() >= self._next_results:
            self._keep_results()
        if self._report is not None and self._report.is_due:
            self._try("report", self._keep_report)

    def finished(self, best: Mapping[str, Any] | None, problem: str | None = None) -> None:
        """Show what a run has come to.

        Args:
            best: what `tuneflow.pipeline.best.best_of` returns, or None.
            problem: why the study is not finished, or None.
        """
        self._failed = dict.fromkeys(self._failed, -_RESPITE)
        self._keep_results(problem)
        said = summary(best, problem)
        share = self._share() if problem is not None else 1.0
        self._try("progress", lambda: self._keep_progress(share, said))
        self._try("report", self._keep_report)

    def _share(self) -> float:
        return share_done(self._opened.study, self._opened.history) or 0.0

    def _keep_progress(self, share: float, said: str) -> None:
        self._next_progress = time.monotonic() + _PAUSE
        percent = round(100 * min(max(share, 0.0), 1.0), 1)
        self._kept.keep("progress", "progress", percent, escaped(said))

    def _keep_results(self, problem: str | None = None) -> None:
        self._next_results = time.monotonic() + _RESULTS_PAUSE
        self._try("trials", self._keep_trials)
        self._try("best", lambda: self._keep_best(problem))

    def _keep_trials(self) -> None:
        self._opened.refresh()
        study, history = self._opened.study, self._opened.history
        self._kept.keep("trials", "table", trials_json(study, history), trials_caption(history))

    def _keep_best(self, problem: str | None) -> None:
        study, history = self._opened.study, self._opened.history
        page = best_page(study, history, self._opened.url, problem)
        self._kept.keep("best", "markdown", page, best_caption(study, history))

    def _begin_report(self) -> None:
        self._report = StoredReport(self._opened, self._base)

    def _keep_report(self) -> None:
        if self._report is None:
            return
        self._report.store()
        address = link_target(self._report.address)
        note = (
            f"stored at `{address}`; where a browser cannot open that, "
            f"`tuneflow report {link_target(self._opened.url)}` writes it to a file"
        )
        self._kept.keep("report", "markdown", f"[Tuning report]({address})", note)

    def _try(self, kind: str, keep: Callable[[], None]) -> None:
        """Do something for an artifact, unless that failed lately."""
        if time.monotonic() < self._failed.get(kind, -_RESPITE) + _RESPITE:
            return
        try:
            keep()
        except Exception as error:  # noqa: BLE001 - what is shown of a study must not end it
            self._warn(kind, error)

    def _warn(self, kind: str, error: Exception) -> None:
        """Say what failed, once for each kind."""
        if kind not in self._failed:
            study = self._opened.url
            _log().warning("cannot show the %s of %s in Prefect: %s", kind, study, error)
        self._failed[kind] = time.monotonic()


def _log() -> Any:
    """Return the logger of the run that this is called in, or else that of the module."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)
