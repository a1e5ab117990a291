"""The HTML report in a study's own storage, where a browser finds it."""

from __future__ import annotations

import os
import time
from typing import Final

from tuneflow.errors import SpecError
from tuneflow.opened import OpenStudy
from tuneflow.views.html import report

REPORT_PATH: Final = "report.html"

BASE_VARIABLE: Final = "TUNEFLOW_REPORT_BASE"
"""The environment variable that says where a browser finds the storage."""

_SHARE: Final = 50
"""A report that took so many seconds is not made again before so many times as long."""

_LEAST: Final = 60.0
"""Seconds before the first report of a study that runs, and between two of them."""


class StoredReport:
    """Renders a study's report now and then, and stores it as ``report.html`` beside its journal.

    Args:
        opened: the study.
        base: where a browser finds the study's storage, such as ``https://studies.example.org``
            for ``s3://studies``. Default: the environment variable ``TUNEFLOW_REPORT_BASE``, or
            else the storage's own URL.

    Raises:
        SpecError: ``base`` is no http URL.
    """

    def __init__(self, opened: OpenStudy, base: str | None = None) -> None:
        self._opened = opened
        self._base = _checked_base(base or os.environ.get(BASE_VARIABLE, ""))
        self._due = time.monotonic() + _LEAST

    @property
    def address(self) -> str:
        """The URL to open the report with."""
        storage, _, name = self._opened.url.rpartition("/")
        return f"{self._base or storage}/{name}/{REPORT_PATH}"

    @property
    def is_due(self) -> bool:
        """Whether there was no report for a while."""
        return time.monotonic() >= self._due

    def store(self) -> None:
        """Render the report and store it, in place of the one before.

        Raises:
            MissingDependencyError: what draws the figures is not installed.
            StorageError: it cannot be stored.
        """
        begun = time.monotonic()
        self._opened.store.put(REPORT_PATH, report(self._opened).encode())
        ended = time.monotonic()
        self._due = ended + max(_LEAST, _SHARE * (ended - begun))


def _checked_base(base: str) -> str:
    if base and not base.startswith(("http://", "https://")):
        problem = f"{base!r} is no address of a web server"
        raise SpecError(BASE_VARIABLE, problem, "write https://…, without the study's name")
    return base.rstrip("/")
