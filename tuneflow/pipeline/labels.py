"""What the tasks of trials are called where people see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuneflow.trial import Segment

_LONGEST = 80
"""Characters of a label's parameters; the whole must fit Airflow's column of 250."""

_LONGEST_NAME = 60
"""Characters of the metric's name."""


def trial_label(number: int, params: Mapping[str, Any]) -> str:
    """Return a trial's number and configuration, such as ``trial 17 · lr 0.003``."""
    text = parameters(params)
    return f"trial {number} · {text}" if text else f"trial {number}"


def segment_label(segment: Segment, note: str) -> str:
    """Return a label that says how far a trial goes, such as ``trial 7 · to 9 · lr 0.003``.

    Args:
        segment: of the trial.
        note: a word on how it came to be; may be empty.
    """
    parts = [f"trial {segment.trial}", "" if segment.until is None else f"to {segment.until:g}"]
    return " · ".join(filter(None, [*parts, parameters(segment.params), note]))


def parameters(params: Mapping[str, Any]) -> str:
    """Return a configuration on one short line, such as ``lr 0.003 · width 64``."""
    text = " · ".join(f"{name} {_short(value)}" for name, value in _flat(params))
    return _cut(text, _LONGEST)


def trials_label(numbers: Sequence[int]) -> str:
    """Return a label for several trials, such as ``trials 17-20``."""
    first, last = min(numbers), max(numbers)
    is_run = sorted(numbers) == list(range(first, last + 1))
    return f"trials {first}-{last}" if is_run else f"{len(numbers)} trials {first}…{last}"


def finished_label(label: str, metric: str, value: float | None, *notes: str) -> str:
    """Return a label with what came out, such as ``trial 17 · lr 0.003 · accuracy 0.941``."""
    parts = [label]
    if value is not None:
        parts.append(f"{_cut(_clean(metric), _LONGEST_NAME)} {_short(value)}")
    return " · ".join([*parts, *(note for note in notes if note)])


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{_clean(name)}.")
        else:
            yield f"{prefix}{_clean(name)}", value


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else _clean(str(value))


def _clean(text: str) -> str:
    """Return a text on one line, without what a terminal or a page would act upon."""
    return "".join(c if c.isprintable() else " " for c in text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
