"""JSON as tuneflow stores it: compact, ASCII, in the order written, with every float kept.

ASCII, because a failure's message may hold what UTF-8 cannot, such as undecodable output.

JSON has no NaN and no infinity. Metrics do, so they are stored as the strings ``"NaN"``,
``"Infinity"`` and ``"-Infinity"``, and read back as floats where a metric is expected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def dumps(value: Any) -> str:
    """Return ``value`` as compact JSON on one line. Raises ValueError for NaN or infinity."""
    return _encode(value)


def loads(text: str | bytes) -> Any:
    """Parse JSON, refusing the NaN and Infinity literals that JSON does not have."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(literal: str) -> None:
    raise ValueError(f"{literal} is not JSON")


def encode_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Return metrics as JSON values, non-finite ones as strings."""
    return {name: encode_float(float(value)) for name, value in metrics.items()}


def decode_metrics(metrics: Mapping[str, float | str]) -> dict[str, float]:
    """Return metrics as they were before `encode_metrics`. Raises ValueError for anything else."""
    return {name: _decode_float(value) for name, value in metrics.items()}


def _decode_float(value: float | str) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and value not in _NOT_FINITE):
        raise ValueError(f"{value!r} is no metric")
    try:
        return float(value)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"{value!r} is no metric") from error


def encode_float(value: float) -> float | str:
    """Return a float as a JSON value."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
