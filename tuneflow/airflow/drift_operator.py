"""`DriftOperator`: let a metric that has drifted set off a retune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator

from tuneflow.airflow.best import emit
from tuneflow.airflow.defaults import RETRIES, RETRY_DELAY
from tuneflow.airflow.failures import explained
from tuneflow.airflow.making import check_place
from tuneflow.airflow.storage_connection import provide_storage
from tuneflow.airflow.versions import AirflowSkipException
from tuneflow.credentials import KINDS
from tuneflow.errors import SpecError
from tuneflow.retune.drift import check_thresholds, has_drifted
from tuneflow.retune.line import Line
from tuneflow.store import Store


class DriftOperator(BaseOperator):
    """Looks at a metric that a monitor writes; skipped while it is fine.

    Where it has drifted the task succeeds, so that the tasks after it run, and the events of its
    outlets are sent: a DAG that is scheduled on such an asset begins. It returns ``{"metric",
    "value", "is_drifted", "sentence"}``, which is the extra of the events, too.

    A metric stays bad until the new champion is in use. With ``storage`` and ``name`` there is no
    news while the line has a retune that has begun less than a ``pause`` ago.

    Args:
        url: the file with the metric, see `tuneflow.retune.drift`; a Jinja template.
        metric: its name; dotted where it is nested.
        below: a value less than this is drift.
        above: a value greater than this is drift.
        storage: the storage of the line; a Jinja template.
        name: the name of the line; a Jinja template.
        pause: how long a retune has to make it better. Default: a day.
        storage_conn_id: see `tuneflow.airflow.tune_task_group`; for the file and for the line.
        retries: see Airflow.
        retry_delay: see Airflow.
        kwargs: what any Airflow operator takes.

    Raises SpecError when an argument cannot work: the DAG has an import error then.
    """

    template_fields: Sequence[str] = ("url", "storage", "line_name")
    ui_color = "#fff3e0"

    def __init__(
        self,
        *,
        url: str,
        metric: str,
        below: float | None = None,
        above: float | None = None,
        storage: str | None = None,
        name: str | None = None,
        pause: timedelta = timedelta(days=1),
        storage_conn_id: str | None = None,
        retries: int = RETRIES,
        retry_delay: timedelta = RETRY_DELAY,
        **kwargs: Any,
    ) -> None:
        super().__init__(retries=retries, retry_delay=retry_delay, **kwargs)
        check_thresholds(below, above)
        if (storage is None) != (name is None):
            missing = "name" if name is None else "storage"
            raise SpecError(
                missing, "a line is named by both its storage and its name", "give both"
            )
        check_place(name, storage)
        self.url = url
        self.metric = metric
        self.below = below
        self.above = above
        self.storage = storage
        self.line_name = name
        self.pause = pause
        self.storage_conn_id = storage_conn_id

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Look at the metric; skip where there is nothing to do about it."""
        with explained():
            if self.url.partition("://")[0] in KINDS:
                provide_storage(self.storage_conn_id, self.url.rpartition("/")[0])
            drift = has_drifted(self.url, self.metric, below=self.below, above=self.above)
            if not drift:
                raise AirflowSkipException(drift.sentence)
            self._require_quiet(drift.sentence)
        self.log.info("%s", drift.sentence)
        said = drift.to_json()
        emit(context, self.outlets or (), self.url, said)
        return said

    def _require_quiet(self, sentence: str) -> None:
        """Skip while a retune has begun that may make it better."""
        if self.storage is None or self.line_name is None:
            return
        storage = provide_storage(self.storage_conn_id, self.storage)
        recent = Line.open(Store(storage).child(self.line_name).url).begun_within(self.pause)
        if recent is not None:
            raise AirflowSkipException(f"{sentence}; but {recent}")
