"""Trials as CSV, as Parquet, and as a table of pandas."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tuneflow.convert.rows import METRICS, PARAMS, columns, rows
from tuneflow.errors import MissingDependencyError, StorageError
from tuneflow.history import History
from tuneflow.study import Study

if TYPE_CHECKING:
    import pandas as pd


def write_csv(study: Study, history: History, path: Path | str) -> None:
    """Write the rows as CSV, with a header; lists and mappings are written as JSON."""
    with _target(path).open("w", newline="", encoding="utf-8") as file:
        write_rows(rows(study, history), file)


def write_rows(table: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows as CSV to an open file."""
    writer = csv.DictWriter(file, columns(table), lineterminator="\n")
    writer.writeheader()
    for row in table:
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def to_dataframe(study: Study, history: History) -> pd.DataFrame:
    """Return the rows as a table; metrics are floats, NaN and infinity included.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingDependencyError("pandas", "pandas") from None
    table = rows(study, history)
    for row in table:
        row |= {name: float(v) for name, v in row.items() if name.startswith(METRICS)}
    frame = pd.DataFrame(table, columns=columns(table))
    return frame.astype({"value": float, "source": "Int64"})


def write_parquet(study: Study, history: History, path: Path | str) -> None:
    """Write the table as Parquet. A column of mixed types is written as JSON.

    Raises:
        MissingDependencyError: pandas or pyarrow is not installed.
    """
    frame = to_dataframe(study, history)
    for name in frame.columns:
        if name.startswith(PARAMS) and not _has_one_type(frame[name]):
            frame[name] = frame[name].map(json.dumps, na_action="ignore")
    try:
        frame.to_parquet(_target(path), index=False)
    except ImportError:
        raise MissingDependencyError("pyarrow", "pandas") from None


def _has_one_type(column: pd.Series[Any]) -> bool:
    kinds = {type(value) for value in column.dropna()}
    return (len(kinds) <= 1 and not kinds & {list, dict}) or kinds <= {int, float}


def _target(path: Path | str) -> Path:
    """Return a path whose folder exists. Raises StorageError when it cannot be made."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}") from error
    return target
