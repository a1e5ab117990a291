"""What the champion log says: a champion, and one record of what has become of it."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Self

from tuneflow.errors import CorruptError
from tuneflow.jsonio import dumps, encode_float, loads
from tuneflow.retune.verdict import Comparison
from tuneflow.trial import Mode

TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
"""How times are written: UTC, to the second."""

VERDICTS: Final = ("promoted", "kept")
"""The types of the records that end a retune."""

_FORMAT: Final = 1
_CHECK: Final = b',"check":"'


@dataclass(frozen=True)
class Champion:
    """A configuration as it was measured.

    Attributes:
        config: the configuration, without the seed.
        metric: what was measured.
        mode: "min" or "max".
        value: the mean of the usable values.
        values: the metric with each seed; NaN where there was no usable one.
        seeds: the seeds, in the order of the values; empty when nobody chose them.
        resource: the level that it was measured at, in the scheduler's unit.
        checkpoint: the URI of a checkpoint's manifest, or None.
        study: the URL of the study that measured it.
        trial: the trial of that study which stands for it.
        data_version: which data it was measured on.
        space: the JSON form of the space that it lies in.
        retune: the retune that made it champion; 0 for the best of the study that the line began
            with.
    """

    config: Mapping[str, Any]
    metric: str
    mode: Mode
    value: float
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    resource: float
    checkpoint: str | None
    study: str
    trial: int
    data_version: str
    space: Mapping[str, Any]
    retune: int

    @property
    def standard_error(self) -> float | None:
        """The standard error of the value; None with fewer than two usable values."""
        usable = [value for value in self.values if math.isfinite(value)]
        return statistics.stdev(usable) / math.sqrt(len(usable)) if len(usable) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        values = [encode_float(value) for value in self.values]
        return {**data, "values": values, "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read what `to_json` wrote. Raises CorruptError for anything else."""
        _require_fields(data, _CHAMPION, "a champion")
        for name in data:
            if name not in _CHAMPION:
                raise CorruptError(f"a champion has no field '{name}'")
        values = tuple(float(value) for value in data["values"])
        return cls(**{**data, "values": values, "seeds": tuple(data["seeds"])})


@dataclass(frozen=True)
class Record:
    """One record of the champion log.

    Attributes:
        number: 1, 2, 3 …
        type: "began", "promoted", "kept", "failed" or "rolled_back".
        retune: the number of the retune that it is about; None for "rolled_back".
        data: the rest, as JSON; see docs/retuning.md.
    """

    number: int
    type: str
    retune: int | None
    data: Mapping[str, Any]

    @property
    def at(self) -> str:
        """When it was written, such as ``2026-11-24T18:00:00Z``."""
        return str(self.data["at"])

    @property
    def champion(self) -> Champion | None:
        """Who is the champion from here on; None where the record does not say."""
        found = self.data.get("champion")
        return None if found is None else Champion.from_json(found)

    @property
    def comparison(self) -> Comparison | None:
        """What the champion was replaced or kept for, where two were compared."""
        found = self.data.get("comparison")
        return None if found is None else Comparison.from_json(found)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        retune = {} if self.retune is None else {"retune": self.retune}
        return {"number": self.number, "type": self.type, **retune, **self.data}

    def to_bytes(self) -> bytes:
        """Return the stored form: the JSON form on one line, with a checksum as its last key."""
        body = dumps({"format": _FORMAT, **self.to_json()}).encode().removesuffix(b"}")
        return body + _trailer(body)

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Self:
        """Read what `to_bytes` wrote. Raises CorruptError, naming ``path``, for anything else."""
        body, _, rest = data.rpartition(_CHECK)
        if _CHECK + rest != _trailer(body):
            raise CorruptError(f"{path} is torn or altered: its checksum does not match")
        try:
            return cls._from_json(loads(body + b"}"))
        except (CorruptError, ValueError) as error:
            raise CorruptError(f"{path} is no record of champions: {error}") from error

    @classmethod
    def _from_json(cls, data: Any) -> Self:
        _require_fields(data, _EVERY, "a record")
        if data.pop("format") != _FORMAT:
            raise CorruptError(f"it has another format; this tuneflow reads {_FORMAT}")
        number, kind, retune = data.pop("number"), data.pop("type"), data.pop("retune", None)
        if kind not in _RECORDS:
            raise CorruptError(f"'{kind}' is no type of record")
        if not _is_count(retune) if kind != "rolled_back" else retune is not None:
            raise CorruptError(f"{retune!r} is no retune that a record '{kind}' can be of")
        _require_fields(data, _RECORDS[kind], f"a record '{kind}'")
        return cls(number, kind, retune, data)


def _trailer(body: bytes) -> bytes:
    return _CHECK + f'{zlib.crc32(body):08x}"}}\n'.encode()


_Check = Callable[[Any], bool]


def _require_fields(data: Any, known: Mapping[str, _Check], what: str) -> None:
    """Raise CorruptError unless all fields are there, and are what they should be."""
    if not isinstance(data, dict):
        raise CorruptError(f"{what} is a JSON object, not {data!r}")
    for name, is_right in known.items():
        if name not in data:
            raise CorruptError(f"{what} has a field '{name}', which is missing")
        if not is_right(data[name]):
            raise CorruptError(f"{what} cannot have {data[name]!r} as its '{name}'")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_metric(value: Any) -> bool:
    return value in ("NaN", "Infinity", "-Infinity") if _is_text(value) else _is_number(value)


def _all(is_right: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def _or_none(is_right: _Check) -> _Check:
    return lambda value: value is None or is_right(value)


def _is_time(value: Any) -> bool:
    try:
        return bool(datetime.strptime(value, TIME))  # noqa: DTZ007 - it is only looked at
    except (TypeError, ValueError):
        return False


def _is_champion(value: Any) -> bool:
    Champion.from_json(value)  # its own error says more
    return True


def _is_comparison(value: Any) -> bool:
    Comparison.from_json(value)
    return True


_CHAMPION: Final[Mapping[str, _Check]] = {
    "config": _is_object,
    "metric": _is_text,
    "mode": lambda value: value in ("min", "max"),
    "value": _is_number,
    "values": _all(_is_metric),
    "seeds": _all(_is_count),
    "resource": _is_number,
    "checkpoint": _or_none(_is_text),
    "study": _is_text,
    "trial": _is_count,
    "data_version": _is_text,
    "space": _is_object,
    "retune": _is_count,
}
_EVERY: Final[Mapping[str, _Check]] = {
    "format": _is_count,
    "number": _is_count,
    "type": _is_text,
    "at": _is_time,
}
_COMPARED: Final[Mapping[str, _Check]] = {
    "comparison": _or_none(_is_comparison),
    "reason": _is_text,
}
# Further fields are kept as they are: what a later tuneflow adds is no damage.
_RECORDS: Final[Mapping[str, Mapping[str, _Check]]] = {
    "began": {"run": _is_text, "data_version": _is_text, "trigger": _is_text},
    "promoted": {"champion": _is_champion, **_COMPARED},
    "kept": {
        "champion": _or_none(_is_champion),
        "challenger": _or_none(_is_champion),
        **_COMPARED,
    },
    "failed": {"reason": _is_text},
    "rolled_back": {"to": _is_count, "champion": _is_champion, "reason": _is_text},
}
