"""Let a metric that has drifted set off a retune."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from tuneflow.prefect.lending import Storage, lend_credentials
from tuneflow.prefect.retune_events import emit_drifted
from tuneflow.retune.drift import Drift, has_drifted
from tuneflow.retune.line import Line
from tuneflow.store import Store
from tuneflow.store_urls import check_name

PAUSE = timedelta(days=1)
"""How long a retune has to make a metric better."""


def report_drift(
    url: str,
    metric: str,
    *,
    storage: Storage,
    name: str,
    below: float | None = None,
    above: float | None = None,
    pause: timedelta = PAUSE,
) -> Drift:
    """Look at a metric that a monitor writes; where it has drifted, send a Prefect event.

    The event is ``tuneflow.metric.drifted``; its resource is the line, and its payload what is
    returned. A deployment whose trigger expects it begins a retune. A metric stays bad until the
    new champion is in use, so nothing is sent while the line has a retune that has begun less than
    a ``pause`` ago.

    Args:
        url: the file with the metric; see `tuneflow.retune.drift`.
        metric: its name; dotted where it is nested.
        storage: of the line; see `tuneflow.prefect.tune_flow`.
        name: of the line.
        below: a value less than this is drift.
        above: a value greater than this is drift.
        pause: see above. Default: a day.

    Returns:
        What the look has come to, whether an event was sent or not.

    Raises:
        SpecError: there is no threshold, or no such file, metric or number.
        StorageError: the file or the line cannot be read.
    """
    check_name(name)
    line = Store(lend_credentials(storage)).child(name).url
    drift = has_drifted(url, metric, below=below, above=above)
    recent = Line.open(line).begun_within(pause) if drift else None
    if recent is None:
        _log().info("%s", drift.sentence)
    else:
        _log().info("%s; but %s", drift.sentence, recent)
    if drift and recent is None:
        emit_drifted(line, drift.to_json())
    return drift


def _log() -> Any:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger(__name__)
