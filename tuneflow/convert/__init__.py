"""A study's trials in the forms of other tools: rows, pandas, CSV, Parquet and Optuna."""

from __future__ import annotations

from tuneflow.convert.optuna import to_optuna
from tuneflow.convert.rows import flatten, rows, trial_value, trial_values
from tuneflow.convert.tables import to_dataframe, write_csv, write_parquet

__all__ = [
    "flatten",
    "rows",
    "to_dataframe",
    "to_optuna",
    "trial_value",
    "trial_values",
    "write_csv",
    "write_parquet",
]
