"""Drift: whether a metric that somebody watches has left the range in which it is fine.

The metric is in a file that a monitor writes: a JSON object, JSON lines, or CSV with a header. In
the latter two the newest line is the last one.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from tuneflow.convert import flatten
from tuneflow.errors import SpecError, StorageError, did_you_mean
from tuneflow.store import NotFound, Store
from tuneflow.store_errors import explain
from tuneflow.store_urls import local_root, normalise


@dataclass(frozen=True)
class Drift:
    """What a look at a metric has come to; it is true where the metric has drifted.

    Attributes:
        metric: its name.
        value: its newest value.
        is_drifted: whether that is below or above a threshold.
        sentence: the same for people.
    """

    metric: str
    value: float
    is_drifted: bool
    sentence: str

    def __bool__(self) -> bool:
        return self.is_drifted

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def has_drifted(
    url: str, metric: str, *, below: float | None = None, above: float | None = None
) -> Drift:
    """Say whether the newest value of a metric is below or above a threshold.

    Args:
        url: the file that it is in: a path, or the URL of an object in a storage.
        metric: its name; dotted where it is nested.
        below: a value less than this is drift; this itself is not.
        above: a value greater than this is drift; this itself is not.

    Raises:
        SpecError: there is no threshold, or no such file, metric or number.
        StorageError: the file cannot be read.
    """
    check_thresholds(below, above)
    value = read_metric(url, metric)
    if below is not None and value < below:
        return Drift(metric, value, True, f"{metric} has drifted: {value:g} is below {below:g}")
    if above is not None and value > above:
        return Drift(metric, value, True, f"{metric} has drifted: {value:g} is above {above:g}")
    fine = " and ".join(
        f"not {word} {limit:g}"
        for word, limit in (("below", below), ("above", above))
        if limit is not None
    )
    return Drift(metric, value, False, f"{metric} has not drifted: {value:g} is {fine}")


def read_metric(url: str, metric: str) -> float:
    """Return the newest value of a metric in a file.

    Lines that do not have it are passed over, as a file may be about more than one.

    Args:
        url: a path, or the URL of an object in a storage.
        metric: its name; dotted where it is nested.

    Raises:
        SpecError: there is no such file, metric or number.
        StorageError: the file cannot be read.
    """
    place, data = _read(url)
    rows = _rows(data, place)
    for row in reversed(rows):
        if row.get(metric) not in (None, ""):
            return _number(row[metric], metric, place)
    known = dict.fromkeys(name for row in rows for name in row if name)
    raise SpecError("metric", f"{place} has no '{metric}'", did_you_mean(metric, known))


def check_thresholds(below: float | None, above: float | None) -> None:
    """Raise SpecError unless there is a threshold, and a value that none of them calls drift."""
    if below is None and above is None:
        raise SpecError("below", "there is no threshold", "give 'below' or 'above', or both")
    for name, value in (("below", below), ("above", above)):
        if value is not None and not math.isfinite(value):
            raise SpecError(name, f"{value} is no threshold", "give a finite number")
    if below is not None and above is not None and below > above:
        problem = f"{below:g} is more than {above:g}, so that every value would be drift"
        raise SpecError("below", problem, "a value is fine from 'below' to 'above'")


def _read(url: str) -> tuple[str, str]:
    """Return a file's URL and its text."""
    place = normalise(url)
    try:
        return place, _bytes(place).decode("utf-8-sig")
    except (NotFound, FileNotFoundError):
        problem, fix = f"there is no file at {place}", "give the file that your monitor writes"
        raise SpecError("url", problem, fix) from None
    except UnicodeDecodeError:
        raise SpecError("url", f"{place} is not text in UTF-8") from None
    except OSError as error:
        raise StorageError(f"cannot read {place}: {explain(error)}") from None


def _bytes(place: str) -> bytes:
    root = local_root(place)
    if root is not None:
        return root.read_bytes()
    folder, _, name = place.rpartition("/")
    if not urlsplit(place).path.strip("/"):
        raise SpecError("url", f"{place} names no object", f"write {place}/metrics.json")
    return Store(folder).get(unquote(name))


Row = Mapping[str, Any]


def _rows(text: str, place: str) -> Sequence[Row]:
    """Return the lines of a file as flat mappings, the newest last."""
    if not text.strip():
        raise SpecError("url", f"{place} is empty", "wait until your monitor has written it")
    if text.lstrip()[0] in "{[":
        return [flatten(one) for one in _objects(text, place)]
    return list(csv.DictReader(text.splitlines()))


def _objects(text: str, place: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file that is one, or has one on each line."""
    try:
        parts = [json.loads(text)]
    except ValueError:
        parts = [_line(line, place) for line in text.splitlines() if line.strip()]
    for part in parts:
        if not isinstance(part, dict):
            problem = f"{place} is neither a JSON object nor JSON lines of objects"
            raise SpecError("url", problem, 'write {"accuracy": 0.93}, one a line')
        yield part


def _line(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        shown = line if len(line) < 60 else f"{line[:59]}…"
        raise SpecError("url", f"{place} has a line that is not JSON: {shown}") from None


def _number(value: Any, metric: str, place: str) -> float:
    """Return a value as a float; that of a CSV file is text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise SpecError("metric", f"'{metric}' in {place} is {value!r}, which is not a number")
    return number
